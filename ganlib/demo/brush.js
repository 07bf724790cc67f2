// A mask that is painted over a picture: strokes on a canvas of the picture's size.
import {$} from "./dom.js";

const SNAPPED = 2 ** 18; // pixels of a picture up to which the edge of the mask is shown as it will be used

export class Brush {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", {willReadFrequently: true});
    this.strokes = [];
    this.given = null; // the mask that came with the picture
    this.erases = false;
    this.stroke = null; // the one that is being painted
    this.before = null; // where the pointer was last
    document.addEventListener("pointerdown", (event) => this.down(event));
    document.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => this.end());
    canvas.addEventListener("keydown", (event) => this.press(event));
    $("paint").addEventListener("click", () => this.choose(false));
    $("erase").addEventListener("click", () => this.choose(true));
    $("undo").addEventListener("click", () => { this.strokes.pop(); this.draw(); });
    $("clear").addEventListener("click", () => this.clear());
    $("size").addEventListener("input", () => this.showSize());
  }

  async start(width, height, given) {
    Object.assign(this.canvas, {width, height});
    this.given = given ? await createImageBitmap(given) : null;
    this.strokes = [];
    this.end();
    this.cursor = {x: width / 2, y: height / 2};
    const shortest = Math.min(width, height);
    $("size").max = Math.max(2, Math.round(shortest / 2));
    $("size").value = Math.max(1, Math.round(shortest / 8));
    this.choose(false);
    this.showSize();
    this.draw();
  }

  choose(erases) {
    this.erases = erases;
    $("paint").setAttribute("aria-pressed", !erases);
    $("erase").setAttribute("aria-pressed", erases);
  }

  clear() {
    this.given = null;
    this.strokes = [];
    this.draw();
  }

  showSize() {
    $("diameter").textContent = `${$("size").value} px`;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const {width, height} = this.canvas;
    return {x: (event.clientX - box.left) / box.width * width, y: (event.clientY - box.top) / box.height * height};
  }

  // A stroke begins on the picture, or beside it and is dragged onto it. What begins on a control is none.
  down(event) {
    if (event.button || !event.isPrimary || event.target.closest("a, button, input, label, select")) return;
    this.before = this.place(event);
    if (event.target === this.canvas) this.begin(event, []);
  }

  begin(event, places) {
    this.canvas.setPointerCapture(event.pointerId); // so that a stroke may leave the picture and come back
    this.stroke = this.add([this.before, ...places]);
  }

  move(event) {
    if (!event.isPrimary || !this.before) return;
    if (!(event.buttons & 1)) {
      this.end();
      return;
    }
    const places = (event.getCoalescedEvents?.() ?? [event]).map((one) => this.place(one));
    if (this.stroke) {
      this.stroke.places.push(...places);
      this.draw();
    } else if (event.target === this.canvas) {
      this.begin(event, places);
    }
    this.before = places.at(-1) ?? this.before;
  }

  end() {
    this.stroke = this.before = null;
  }

  add(places) {
    const stroke = {erases: this.erases, size: Number($("size").value), places};
    this.strokes.push(stroke);
    this.draw();
    return stroke;
  }

  // Arrow keys move the brush, and Space paints a dot.
  press(event) {
    const step = Math.max(1, Number($("size").value) / 2);
    const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    if (move) {
      this.cursor.x = Math.min(this.canvas.width, Math.max(0, this.cursor.x + move[0] * step));
      this.cursor.y = Math.min(this.canvas.height, Math.max(0, this.cursor.y + move[1] * step));
      this.draw();
    } else {
      this.add([{...this.cursor}]);
    }
    this.outline();
  }

  outline() {
    Object.assign(this.context, {strokeStyle: "#fff", lineWidth: Math.max(1, this.canvas.width / 300)});
    this.context.strokeRect(this.cursor.x - 1, this.cursor.y - 1, 2, 2);
  }

  draw() {
    const {context, canvas} = this;
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.given) {
      context.drawImage(this.given, 0, 0);
      this.paintGiven();
    }
    Object.assign(context, {lineCap: "round", lineJoin: "round", strokeStyle: "#ff0050"});
    for (const {erases, size, places} of this.strokes) {
      context.globalCompositeOperation = erases ? "destination-out" : "source-over";
      context.lineWidth = size;
      context.beginPath();
      context.moveTo(places[0].x, places[0].y);
      places.forEach(({x, y}) => context.lineTo(x, y));
      if (places.length === 1) context.lineTo(places[0].x + 0.01, places[0].y);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
    if (canvas.width * canvas.height <= SNAPPED) context.putImageData(this.pixels([255, 0, 80, 255], [0, 0, 0, 0]), 0, 0);
  }

  // Turns white on black into what a brush paints.
  paintGiven() {
    const pixels = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set([255, 0, 80, pixels.data[at]], at);
    this.context.putImageData(pixels, 0, 0);
  }

  // The pixels that are painted at least by half in one colour, and the others in another: red, green, blue, opacity.
  pixels(painted, others) {
    const pixels = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const whole = new Uint32Array(pixels.data.buffer);
    const [on, off] = new Uint32Array(new Uint8ClampedArray([...painted, ...others]).buffer);
    for (let at = 0; at < whole.length; at += 1) whole[at] = pixels.data[4 * at + 3] > 127 ? on : off;
    return pixels;
  }

  // The mask as a PNG file, white on black; null if nothing is painted.
  async mask() {
    this.draw(); // without the outline of the keyboard's brush
    const pixels = this.pixels([255, 255, 255, 255], [0, 0, 0, 255]);
    if (!new Uint32Array(pixels.data.buffer).includes(0xffffffff)) return null;
    const sheet = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    sheet.getContext("2d").putImageData(pixels, 0, 0);
    return sheet.convertToBlob({type: "image/png"});
  }
}
