"use strict";
// Two to four tokenizers side by side on the same samples, and their differences with intervals.

(() => {
  const { el, data } = report;
  const MOST = 4;

  report.views.compare = (main) => {
    main.append(el("h1", {}, "Comparison"));
    let ids = report.selection();
    const section = ids.length ? report.lines.get(ids[0]).section : Number(report.get("data", "0")) || 0;
    const others = ids.filter((id) => report.lines.get(id).section !== section).length;
    ids = ids.filter((id) => report.lines.get(id).section === section).slice(0, MOST);
    if (!data.sections.length) return;
    const place = el("div");
    main.append(picker(section, ids), others ? el("p", { class: "warn" }, `${others} selected lines are of other data sets, and are left out.`) : "", place);
    if (ids.length < 2) {
      place.append(el("p", { class: "quiet" }, "Choose two to four tokenizers of one data set."));
      return;
    }
    const lines = ids.map((id) => report.lines.get(id));
    const pictures = el("div");
    place.append(numbers(lines), differences(data.sections[section], lines), el("h2", {}, "The same samples"), pictures);
    for (const draw of place.querySelectorAll("[data-draw]")) draw.draw();
    Promise.all(ids.map(report.detail)).then((details) => { if (pictures.isConnected) side(pictures, lines, details); },
      (error) => pictures.replaceChildren(el("p", { class: "warn" }, error.message)));
  };

  function picker(section, ids) {
    const choices = data.sections.map((s, i) => [String(i), s.title]);
    const members = data.sections[section].lines;
    const go = (next) => { location.hash = report.address("compare", "", { sel: next.join(","), data: String(section) }); };
    const fields = [...ids, ...(ids.length < MOST ? [""] : [])].map((id, at) => report.select(`Tokenizer ${at + 1}`,
      [["", at < ids.length ? "(remove)" : "add …"], ...members.filter((m) => m === id || !ids.includes(m)).map((m) => [m, report.lines.get(m).name])], id,
      (value) => { const next = [...ids]; next[at] = value; go(next.filter(Boolean)); }, `line-${at}`));
    return el("div", { class: "tools" }, report.select("Data set", choices, String(section), (value) => { location.hash = report.address("compare", "", { sel: "", data: value }); }, "data"), fields);
  }

  function numbers(lines) {
    const names = data.columns.filter((c) => c.shown && lines.some((l) => report.cell(l, c.name))).map((c) => c.name);
    return el("section", {}, report.table("Numbers side by side; bold: the best of its table, and what does not differ from it", ["", ...lines.map((l) => report.link(l))],
      names.map((name) => [report.heading(name), ...lines.map((l) => (report.cell(l, name)?.[5] ? el("b", {}, report.text(l, name)) : report.text(l, name)))])));
  }

  function differences(section, lines) {
    const head = el("h2", {}, "Differences");
    if (!Object.keys(section.differences).length) {
      return el("section", {}, head, el("p", { class: "quiet" }, `Differences are on the page for tables of up to ${data.compared} lines of one protocol; make a report of fewer with --where.`));
    }
    const places = lines.map((l) => section.lines.indexOf(l.id));
    const pairs = places.flatMap((i, a) => places.slice(a + 1).map((j, b) => ({ i, j, name: `${lines[a].name} − ${lines[a + 1 + b].name}` })));
    const rows = [], drawn = [];
    for (const [name, one] of Object.entries(section.differences)) {
      for (const pair of pairs) {
        if (one.reason) continue;
        const value = one.values[pair.i][pair.j], low = value - one.below[pair.i][pair.j], high = value + one.above[pair.i][pair.j];
        if (value === null) continue;
        const known = one.below[pair.i][pair.j] !== null;
        const better = report.columns.get(name).direction === "higher" ? 1 : -1;
        const verdict = !known ? "no interval" : low > 0 || high < 0 ? (Math.sign(value) === better ? "first is better" : "second is better") : "no difference";
        rows.push([report.heading(name), pair.name, report.number(value, 3), known ? `${report.number(low, 3)} to ${report.number(high, 3)}` : "–", verdict]);
        if (known) drawn.push({ name, pair: pair.name, value, low, high });
      }
    }
    const reasons = Object.entries(section.differences).filter(([, one]) => one.reason).map(([name, one]) => el("li", {}, `${report.title(name)}: not compared, since ${one.reason}.`));
    const first = drawn.filter((d) => d.name === section.distortion);
    const chart = first.length ? report.later({ caption: `Differences in ${report.title(section.distortion)} with intervals that hold together for all pairs of the table; where the bar leaves out zero, they differ.`,
      height: 120 + 40 * first.length,
      draw: () => ({ traces: [{ type: "scatter", mode: "markers", x: first.map((d) => d.value), y: first.map((d) => report.inert(d.pair)), marker: { size: 10, color: report.style("--accent") }, hovertemplate: "%{x:.4~g}<extra></extra>",
        error_x: { type: "data", symmetric: false, array: first.map((d) => d.high - d.value), arrayminus: first.map((d) => d.value - d.low), color: report.style("--accent") } }],
        layout: { xaxis: { title: report.heading(section.distortion), zeroline: true, zerolinecolor: report.style("--text"), zerolinewidth: 1 }, yaxis: { type: "category", autorange: "reversed" } } }) }) : null;
    return el("section", {}, head, chart, report.table("Paired where values by sample or seeds allow it; intervals hold together for all pairs of the table", ["metric", "difference", "value", "95 % interval", "verdict"], rows),
      reasons.length ? el("ul", { class: "quiet small" }, reasons) : null);
  }

  function side(place, lines, details) {
    const shown = details.map((f) => f.media.parts || {});
    const original = shown.find((parts) => parts.original)?.original;
    if (!original) {
      place.replaceChildren(el("p", { class: "quiet" }, "None of them has stored samples."));
      return;
    }
    const heads = ["original", ...lines.map((l) => l.name)];
    const parts = [original, ...shown.map((p) => p.reconstruction)];
    const section = data.sections[lines[0].section];
    const score = (at, i) => { const v = details[at - 1]?.samples[section.distortion]?.first?.[i]; return v === undefined || v === null ? "" : `${report.title(section.distortion)} ${report.number(v, 3)}`; };
    const count = Math.max(...parts.map((p) => p?.count ?? p?.sounds?.length ?? 0));
    const tiles = [];
    const rows = Array.from({ length: count }, (_, i) => [`#${i}`, ...parts.map((part, at) => {
      if (part?.sheet && i < part.count) {
        const tile = report.tile(part, i, { size: 120, label: `${heads[at]} of sample ${i}` });
        tiles.push(tile);
        return el("div", { class: "labelled" }, tile, part.sounds?.[i] ? report.sound(part.sounds[i], `${heads[at]} ${i}`) : "", el("span", {}, at ? score(at, i) : ""));
      }
      if (part?.sounds?.[i]) return el("div", { class: "labelled" }, report.sound(part.sounds[i], `${heads[at]} ${i}`), el("span", {}, at ? score(at, i) : ""));
      return "–";
    })]);
    const clock = original.frames > 1 ? report.transport(original.frames, details[0].media.rate, (frame) => tiles.forEach((tile) => tile.show(frame))) : null;
    place.replaceChildren(...[clock, report.table("Reconstructions of the same samples", ["", ...heads], rows, { quiet: true, class: "side" })].filter(Boolean));
  }
})();
