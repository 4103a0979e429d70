"use strict";
// Pictures and clips: original and reconstruction under one slider, their difference, zoom, and frames in step.
// Everything is drawn from sheets of uncompressed pixels; nothing is smoothed.

(() => {
  const { el } = report;
  const sheets = new Map();

  function sheet(source) {
    if (!sheets.has(source)) sheets.set(source, new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error(`${source.slice(0, 80)} could not be loaded`));
      image.src = source;
    }));
    return sheets.get(source);
  }

  function stamp(context, image, part, item, frame, [x, y, w, h]) {
    context.drawImage(image, frame * part.width, item * part.height, part.width, part.height, x, y, w, h);
  }

  /** A canvas of one sample of a part. */
  report.tile = (part, item, { size = 96, frame = 0, label = "" } = {}) => {
    const scale = Math.max(1, Math.round(size / Math.min(part.width, part.height)));
    const canvas = el("canvas", { width: part.width * scale, height: part.height * scale, role: "img", "aria-label": label });
    const draw = (at) => sheet(part.sheet).then((image) => {
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      stamp(context, image, part, item, Math.min(at, part.frames - 1), [0, 0, canvas.width, canvas.height]);
    });
    draw(frame);
    canvas.show = draw;
    return canvas;
  };

  /** Frames in step: a button, a slider, and arrows on it; `show` is told the frame. */
  report.transport = (frames, rate, show) => {
    if (frames < 2) return null;
    let frame = 0, timer = null;
    const step = (next) => { frame = (next + frames) % frames; slider.value = frame; place.textContent = `frame ${frame + 1} of ${frames}`; show(frame); };
    const place = el("output", {}, `frame 1 of ${frames}`);
    const slider = el("input", { type: "range", min: 0, max: frames - 1, value: 0, "aria-label": "frame", oninput: () => step(Number(slider.value)) });
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const button = el("button", { type: "button", class: "play", onclick: () => {
      if (timer) { stop(); return; }
      button.textContent = "Pause";
      timer = setInterval(() => { if (button.isConnected) step(frame + 1); else stop(); }, 1000 / Math.min(30, Math.max(1, rate || 8)));
    } }, "Play");
    return el("div", { class: "transport" }, button, slider, place);
  };

  /** The viewer of one tokenizer's pairs, with its samples below. */
  report.player = (media, of) => {
    const original = media.parts.original, back = media.parts.reconstruction, drawn = media.parts.sample;
    const blocks = [];
    if (original?.sheet && back?.sheet) blocks.push(pairs(original, back, media, of));
    if (drawn?.sheet) blocks.push(samples(drawn, media));
    return el("div", {}, blocks);
  };

  function pairs(original, back, media, of) {
    const canvas = el("canvas", { role: "img", class: "stage" });
    const stage = el("div", { class: "frame", tabindex: "0", role: "region", "aria-label": "original and reconstruction; scrolls when zoomed" }, canvas);
    const state = { item: 0, frame: 0, cut: 50, zoom: 1, gain: 0 };
    const draw = async () => {
      const [first, second] = await Promise.all([sheet(original.sheet), sheet(back.sheet)]);
      const room = Math.min(520, Math.max(240, (stage.clientWidth || 520) - 4));
      const fit = Math.max(1, Math.floor(room / original.width)) || 1;
      const scale = (fit > 1 ? fit : room / original.width) * state.zoom;
      const w = Math.round(original.width * scale), h = Math.round(original.height * scale);
      canvas.width = w;
      canvas.height = h;
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      stamp(context, first, original, state.item, state.frame, [0, 0, w, h]);
      if (state.gain) {
        context.globalCompositeOperation = "difference";
        stamp(context, second, back, state.item, Math.min(state.frame, back.frames - 1), [0, 0, w, h]);
        context.globalCompositeOperation = "source-over";
        canvas.style.filter = `brightness(${state.gain})`;
        canvas.setAttribute("aria-label", `difference of sample ${state.item}, ${state.gain} times as bright`);
        return;
      }
      canvas.style.filter = "";
      const x = Math.round((w * state.cut) / 100);
      context.save();
      context.beginPath();
      context.rect(x, 0, w - x, h);
      context.clip();
      stamp(context, second, back, state.item, Math.min(state.frame, back.frames - 1), [0, 0, w, h]);
      context.restore();
      context.fillStyle = report.style("--accent");
      if (x > 0 && x < w) context.fillRect(x - 1, 0, 2, h);
      canvas.setAttribute("aria-label", `sample ${state.item}: original to the left of ${state.cut} %, reconstruction to its right`);
    };
    const strip = el("div", { class: "strip" });
    const tiles = [], items = Array.from({ length: original.count }, (_, i) => i);
    for (const item of items) {
      const top = report.tile(original, item, { size: 56, label: `original ${item}` }), below = report.tile(back, item, { size: 56, label: `reconstruction ${item}` });
      tiles.push(top, below);
      const note = of ? of(item) : "";
      strip.append(el("button", { type: "button", class: "pair", "aria-pressed": String(item === 0), title: note || null, onclick: (event) => {
        for (const other of strip.children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        state.item = item;
        draw();
      } }, top, below, el("span", {}, note ? note.split(";")[0] : `#${item}`)));
    }
    const shown = [...strip.children];
    const order = (how) => strip.replaceChildren(...(how ? [...items].sort((a, b) => (how === "worst" ? 1 : -1) * of.worse(a, b)) : items).map((i) => shown[i]));
    const tools = el("div", { class: "tools" }, [
      report.range("original │ reconstruction", { min: 0, max: 100, value: 50 }, (v) => { state.cut = v; draw(); return `${v} %`; }, "cut"),
      report.range("zoom", { min: 1, max: 8, value: 1 }, (v) => { state.zoom = v; draw(); return `${v}×`; }, "zoom"),
      report.select("show", [["0", "both"], ["1", "difference"], ["4", "difference × 4"], ["16", "difference × 16"]], "0", (v) => { state.gain = Number(v); draw(); }, "gain"),
      of ? report.select("order", [["", "as stored"], ["worst", "worst first"], ["best", "best first"]], "", order, "order") : null]);
    const clock = report.transport(original.frames, media.rate, (frame) => { state.frame = frame; draw(); tiles.forEach((tile) => tile.show(frame)); });
    drag(stage, canvas, (share) => { if (state.zoom === 1) { tools.querySelector("input[name=cut]").value = share; tools.querySelector("input[name=cut]").dispatchEvent(new Event("input")); } });
    requestAnimationFrame(draw);
    return el("section", { class: "viewer" }, el("h3", {}, "Original and reconstruction"), tools, clock, stage, strip);
  }

  /** The slider follows a finger or a mouse on the picture itself. */
  function drag(stage, canvas, move) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      move(Math.round(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100))));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); at(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
  }

  function samples(part, media) {
    const tiles = Array.from({ length: part.count }, (_, i) => report.tile(part, i, { size: 88, label: `sample ${i} of the prior` }));
    const clock = report.transport(part.frames, media.rate, (frame) => tiles.forEach((tile) => tile.show(frame)));
    return el("section", {}, el("h3", {}, "Samples of the prior"), clock, el("div", { class: "tiles-of" }, tiles));
  }
})();
