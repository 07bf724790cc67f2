// The page of `gan-pipelines demo`: shows what the model can do, and says every error in words.
import {$, say} from "./dom.js";
import {startGeneration} from "./generation.js";
import {startPictures} from "./pictures.js";
import {call} from "./server.js";

try {
  const model = await (await call("api/model")).json();
  $("title").textContent = model.title;
  document.title = `${model.title} - gan-pipelines demo`;
  if (model.generation) startGeneration(model.generation);
  else startPictures(model);
} catch (error) {
  say("page", error);
}
