"use strict";
// One column over downsample and channels: the mean of the lines at each point of the grid.

(() => {
  const { el, data } = report;
  const spread = (lines, name) => [...new Set(lines.map((l) => report.value(l, name)).filter((v) => v !== null))].sort((a, b) => a - b);

  report.heatmap = (place, all) => {
    const fit = data.sections.map((section, i) => ({ i, lines: all.filter((l) => l.section === i) }))
      .filter(({ lines }) => spread(lines, "downsample").length * spread(lines, "channels").length > 1)
      .sort((a, b) => spread(b.lines, "downsample").length - spread(a.lines, "downsample").length);
    if (!fit.length) {
      place.replaceChildren(el("p", { class: "quiet" }, "No data set has lines at several points of downsample and channels."));
      return;
    }
    const names = data.columns.filter((c) => !["axis", "shape"].includes(c.role)).map((c) => c.name);
    const at = fit.find(({ i }) => String(i) === report.get("grid")) || fit[0];
    const valued = names.filter((name) => at.lines.some((l) => report.value(l, name) !== null));
    const name = [report.get("z"), data.sections[at.i].distortion, valued[0]].find((n) => valued.includes(n));
    const picture = el("div");
    const change = (key) => (value) => { report.set({ [key]: value }); report.heatmap(place, all); };
    place.replaceChildren(el("div", { class: "tools" },
      report.select("Data set", fit.map(({ i }) => [String(i), data.sections[i].title]), String(at.i), change("grid"), "grid"),
      report.select("Column", valued.map((n) => [n, report.heading(n)]), name, change("z"), "z")), picture);
    draw(picture, at.lines, name);
  };

  function draw(picture, all, name) {
    const lines = all.filter((l) => report.value(l, name) !== null);
    const xs = spread(lines, "channels"), ys = spread(lines, "downsample");
    const members = (x, y) => lines.filter((l) => report.value(l, "channels") === x && report.value(l, "downsample") === y);
    const mean = (x, y) => {
      const found = members(x, y);
      return found.length ? found.reduce((sum, l) => sum + report.value(l, name), 0) / found.length : null;
    };
    const z = ys.map((y) => xs.map((x) => mean(x, y)));
    const chosen = new Set(report.selection());
    const marks = ys.flatMap((y, j) => xs.flatMap((x, i) => (members(x, y).some((l) => chosen.has(l.id)) ? [{ type: "rect", x0: i - 0.5, x1: i + 0.5, y0: j - 0.5, y1: j + 0.5, line: { color: report.style("--text"), width: 3 } }] : [])));
    report.chart(picture, {
      caption: `${report.title(name)} over downsample and channels; where several lines share a point, their mean. Points of selected lines are framed.`,
      height: Math.min(560, 150 + 60 * ys.length),
      draw: () => ({
        traces: [{ type: "heatmap", x: xs.map(String), y: ys.map(String), z, colorscale: "Viridis", reversescale: report.columns.get(name).direction === "lower", hoverongaps: false, xgap: 2, ygap: 2,
          texttemplate: xs.length * ys.length <= 120 ? "%{z:.4~g}" : undefined, hovertemplate: "channels %{x}, downsample %{y}: %{z:.4~g}<extra></extra>",
          colorbar: { title: { text: report.inert(report.heading(name)), side: "right", font: { size: 12 } }, thickness: 12, outlinewidth: 0 } }],
        layout: { xaxis: { title: "channels", type: "category" }, yaxis: { title: "downsample", type: "category" }, shapes: marks },
      }),
      table: [["downsample", ...xs.map((x) => `${x} channels`)], ys.map((y, j) => [String(y), ...z[j].map((v) => report.number(v))])],
    });
  }
})();
