// Calls of the server.
import {say} from "./dom.js";

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

// Runs the latest of several calls: a new one ends the one before. The message is that of the last one.
export function latest(work) {
  let before = new AbortController();
  const run = async (...values) => {
    before.abort();
    const own = (before = new AbortController());
    try {
      await work(own.signal, ...values);
      if (!own.signal.aborted) say(run, null);
    } catch (error) {
      if (!own.signal.aborted) say(run, error);
    }
  };
  run.stop = () => {
    before.abort();
    say(run, null);
  };
  return run;
}
