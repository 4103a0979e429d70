"use strict";
// Each metric by sample: its histogram, and which samples are worst and best.

(() => {
  const { el } = report;

  report.distributions = (samples, first) => {
    const names = Object.keys(samples);
    if (!names.length) return null;
    const place = el("div", { "data-draw": "" }), ends = el("div");
    const draw = (name) => {
      const one = samples[name], [p5, q1, median, q3, p95] = one.quartiles;
      const width = one.edges[1] - one.edges[0], centres = one.counts.map((_, i) => one.edges[i] + width / 2);
      report.chart(place, {
        caption: `${report.title(name)} of ${one.n} samples: median ${report.number(median, 4)}, half of them from ${report.number(q1, 4)} to ${report.number(q3, 4)}, 90 % from ${report.number(p5, 4)} to ${report.number(p95, 4)}`,
        height: 280,
        draw: () => ({ traces: [{ type: "bar", x: centres, y: one.counts, width: width * 0.94, marker: { color: report.style("--accent") }, hovertemplate: "about %{x:.4~g}: %{y} samples<extra></extra>" }],
          layout: { xaxis: { title: report.heading(name) }, yaxis: { title: "samples" }, bargap: 0.05,
            shapes: [{ type: "line", x0: median, x1: median, yref: "paper", y0: 0, y1: 1, line: { color: report.style("--text"), width: 1, dash: "dot" } }] } }),
        table: [["about", "samples"], one.counts.map((n, i) => [report.number(centres[i], 4), String(n)])] });
      const list = (pairs) => pairs.map(([i, v]) => `#${i} (${report.number(v, 4)})`).join(", ");
      ends.replaceChildren(el("p", {}, el("b", {}, one.directed ? "Worst: " : "Least: "), list(one.worst)), el("p", {}, el("b", {}, one.directed ? "Best: " : "Most: "), list(one.best)),
        el("p", { class: "quiet small" }, "Numbers of samples count in the order of the validation split; the first of them are shown above."));
    };
    const start = names.includes(first) ? first : names[0];
    place.draw = () => draw(start);
    return el("div", {}, report.select("Metric", names.map((n) => [n, report.heading(n)]), start, draw, "by-sample"), place, ends);
  };
})();
