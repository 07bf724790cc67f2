// What all parts of the page share: its elements, its messages, and how small images are enlarged.
export const $ = (id) => document.getElementById(id);

const SMALL = 96; // pixels; images below are enlarged with sharp edges
const messages = new Map(); // by what they are about, so that one part of the page does not remove those of another

// Shows what went wrong with something, until it is said again of the same; null if nothing did.
export function say(subject, error) {
  if (error) messages.set(subject, error.message);
  else messages.delete(subject);
  const lines = [...new Set(messages.values())];
  $("message").textContent = lines.join("\n");
  $("message").hidden = !lines.length;
}

// Keeps the edges of pixels sharp in a place with small images.
export function sharpen(place, side) {
  place.classList.toggle("small", side < SMALL);
}
