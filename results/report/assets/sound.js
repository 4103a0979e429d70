"use strict";
// Sounds: players with the wave and the spectrogram of each, original, reconstruction, vocoder alone and sample.

(() => {
  const { el } = report;
  const SVG = "http://www.w3.org/2000/svg";
  const ORDER = ["original", "reconstruction", "vocoder only", "sample"];
  const EXPLAINED = { "vocoder only": "the original's spectrogram through the vocoder: what no tokenizer can better" };

  function wave(outline) {
    const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    const n = outline.length, y = (v) => (50 - 48 * v).toFixed(1);
    const top = outline.map(([, high], i) => `${((100 * i) / Math.max(1, n - 1)).toFixed(2)},${y(high)}`);
    const below = outline.map(([low], i) => `${((100 * i) / Math.max(1, n - 1)).toFixed(2)},${y(low)}`).reverse();
    path.setAttribute("d", `M${[...top, ...below].join("L")}Z`);
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.classList.add("wave");
    svg.append(path);
    return svg;
  }

  /** One sound: player, wave and spectrogram, with a line where it plays. */
  report.sound = (sound, label) => {
    const line = el("i", { class: "playhead" });
    const player = el("audio", { controls: true, preload: "none", src: sound.src, "aria-label": label });
    const follow = () => {
      line.style.left = `${(100 * player.currentTime) / (player.duration || sound.seconds)}%`;
      if (!player.paused && player.isConnected) requestAnimationFrame(follow);
    };
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
      follow();
    });
    player.addEventListener("seeked", follow);
    return el("div", { class: "sound" }, el("div", { class: "drawn" }, wave(sound.outline),
      el("img", { src: sound.spectrogram, alt: `spectrogram of ${label}`, loading: "lazy" }), line), player);
  };

  /** All sounds of one tokenizer: a row per sample, a column per kind. */
  report.sounds = (media, of) => {
    const kinds = ORDER.filter((kind) => media.parts[kind]?.sounds);
    if (!kinds.length) return null;
    const paired = kinds.filter((kind) => kind !== "sample");
    const rows = (names) => Math.max(...names.map((kind) => media.parts[kind].sounds.length));
    const grid = (names) => report.table("Sounds", ["#", ...names], Array.from({ length: rows(names) }, (_, i) => [
      of && names.length > 1 && of(i) ? `${i}: ${of(i).split(";")[0]}` : String(i),
      ...names.map((kind) => (media.parts[kind].sounds[i] ? report.sound(media.parts[kind].sounds[i], `${kind} ${i}`) : "–"))]), { quiet: true, class: "sounds" });
    const notes = kinds.filter((kind) => EXPLAINED[kind]).map((kind) => el("p", { class: "quiet small" }, `${kind}: ${EXPLAINED[kind]}.`));
    const drawn = kinds.includes("sample");
    return el("div", {}, paired.length ? el("section", {}, el("h3", {}, "Original and reconstruction"), grid(paired), notes) : null,
      drawn ? el("section", {}, el("h3", {}, "Samples of the prior"),
        el("div", { class: "sound-samples" }, media.parts.sample.sounds.map((s, i) => report.sound(s, `sample ${i} of the prior`)))) : null);
  };
})();
