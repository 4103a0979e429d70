"use strict";
// One column over downsample and channels: a tokenizer's line at each point of the grid, its mean over seeds.

(() => {
  const { el, data } = report;
  const spread = (lines, name) => [...new Set(lines.map((l) => report.value(l, name)).filter((v) => v !== null))].sort((a, b) => a - b);
  const point = (line) => JSON.stringify([report.value(line, "channels"), report.value(line, "downsample")]);
  const grouped = (lines, of) => lines.reduce((groups, l) => groups.set(of(l), [...(groups.get(of(l)) || []), l]), new Map());

  /** The tokenizers with lines at several points, by name: no two lines of one share a point. */
  function tokenizers(lines) {
    const placed = lines.filter((l) => report.value(l, "channels") !== null && report.value(l, "downsample") !== null);
    const titled = grouped(placed, (l) => (l.label.includes(l.recipe) ? l.label : `${l.label} (${l.recipe})`));
    const named = [...titled].flatMap(([title, own]) => {
      const points = [...grouped(own, point).values()];
      const axes = [...new Set(own.flatMap((l) => Object.keys(l.axes)))];
      const telling = axes.filter((axis) => points.some((same) => new Set(same.map((l) => l.axes[axis])).size > 1));
      return [...grouped(own, (l) => [title, ...telling.map((axis) => `${axis}=${l.axes[axis] ?? "–"}`)].join(" "))];
    });
    return new Map(named.filter(([, own]) => own.length > 1));
  }

  report.heatmap = (place, all) => {
    const fit = data.sections.map((section, i) => ({ i, maps: tokenizers(all.filter((l) => l.section === i)) }))
      .filter(({ maps }) => maps.size);
    const widest = ({ maps }) => Math.max(...[...maps.values()].map((lines) => spread(lines, "downsample").length));
    fit.sort((a, b) => widest(b) - widest(a));
    if (!fit.length) {
      place.replaceChildren(el("p", { class: "quiet" }, "No tokenizer has lines at several points of downsample and channels."));
      return;
    }
    const names = data.columns.filter((c) => !["axis", "shape"].includes(c.role)).map((c) => c.name);
    const at = fit.find(({ i }) => String(i) === report.get("grid")) || fit[0];
    const title = at.maps.has(report.get("map")) ? report.get("map") : [...at.maps.keys()][0];
    const lines = at.maps.get(title);
    const valued = names.filter((name) => lines.some((l) => report.value(l, name) !== null));
    const name = [report.get("z"), data.sections[at.i].distortion, valued[0]].find((n) => valued.includes(n));
    const picture = el("div");
    const change = (key) => (value) => { report.set({ [key]: value }); report.heatmap(place, all); };
    place.replaceChildren(el("div", { class: "tools" },
      report.select("Data set", fit.map(({ i }) => [String(i), data.sections[i].title]), String(at.i), change("grid"), "grid"),
      report.select("Tokenizer", [...at.maps.keys()].map((n) => [n, n]), title, change("map"), "map"),
      report.select("Column", valued.map((n) => [n, report.heading(n)]), name, change("z"), "z")), picture);
    if (name) draw(picture, lines, name, title);
  };

  function draw(picture, all, name, title) {
    const lines = all.filter((l) => report.value(l, name) !== null);
    const xs = spread(lines, "channels"), ys = spread(lines, "downsample");
    const line = (x, y) => lines.find((l) => point(l) === JSON.stringify([x, y]));
    const z = ys.map((y) => xs.map((x) => (line(x, y) ? report.value(line(x, y), name) : null)));
    const chosen = new Set(report.selection());
    const marks = ys.flatMap((y, j) => xs.flatMap((x, i) => (chosen.has(line(x, y)?.id) ? [{ type: "rect", x0: i - 0.5, x1: i + 0.5, y0: j - 0.5, y1: j + 0.5, line: { color: report.style("--text"), width: 3 } }] : [])));
    report.chart(picture, {
      caption: `${report.title(name)} of ${title} over downsample and channels, the mean over seeds. Points of selected lines are framed.`,
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
