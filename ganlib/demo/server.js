// Calls of the server, and what the page says when one fails.
export const $ = (id) => document.getElementById(id);

export function say(error) {
  $("message").textContent = error ? error.message : "";
  $("message").hidden = !error;
}

// Calls the server. Its errors are lines; a server that is gone has none.
export async function call(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `gan-pipelines demo` still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(answer.error ?? `the server answered ${response.status}`);
}

// Runs the latest of several calls: a new one ends the one before, and only its errors are shown.
export function latest(work) {
  let before = new AbortController();
  const run = async (...values) => {
    before.abort();
    const own = (before = new AbortController());
    try {
      await work(own.signal, ...values);
      if (!own.signal.aborted) say(null);
    } catch (error) {
      if (!own.signal.aborted) say(error);
    }
  };
  run.stop = () => before.abort();
  return run;
}
