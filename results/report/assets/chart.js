"use strict";
// Charts by plotly.js in the page's colours, each with its numbers as a table beside it.

(() => {
  const { el, inert } = report;
  // Okabe and Ito's colours, which the colour-blind can distinguish too; symbols distinguish families in grey.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "x", "star", "hexagon"];
  const drawn = new Set();
  const families = [...new Set(report.data.lines.map((line) => line.recipe))];

  /** The colour and the symbol of a name among others. */
  report.look = (name, among = families) => {
    const place = Math.max(0, among.indexOf(name));
    return { colour: COLOURS[place % COLOURS.length], symbol: SYMBOLS[place % SYMBOLS.length] };
  };

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function axis(more = {}) {
    const grid = style("--rule");
    const title = more.title ? { text: inert(more.title), standoff: 10 } : undefined;
    return { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, ...more, title };
  }

  /** A chart into `place`: `draw` gives traces and layout anew, as for other colours; `table` is [heads, rows]. */
  report.chart = (place, { caption, draw, table, click, height = 380 }) => {
    const picture = el("div", { class: "picture", role: "img", "aria-label": caption, style: `height:${height}px` });
    const numbers = table ? el("details", { class: "numbers" }, el("summary", {}, "The same as a table"),
      report.table(caption, table[0], table[1], { quiet: true })) : null;
    place.replaceChildren(el("figure", {}, picture, el("figcaption", {}, caption), numbers));
    const paint = () => {
      const { traces, layout = {} } = draw();
      const soft = style("--soft");
      const { xaxis, yaxis, ...rest } = layout;
      const whole = {
        margin: { l: 56, r: 16, t: 16, b: 48 }, hovermode: "closest", showlegend: false,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: style("--font"), size: 13, color: style("--text") },
        hoverlabel: { bgcolor: style("--raised"), bordercolor: style("--rule"), font: { color: style("--text") }, align: "left" },
        legend: { font: { color: soft }, orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        xaxis: axis(xaxis), yaxis: axis(yaxis), ...rest,
      };
      for (const [name, value] of Object.entries(rest)) if (/^[xy]axis\d/.test(name)) whole[name] = axis(value);
      Plotly.react(picture, traces, whole, { responsive: true, displaylogo: false, displayModeBar: "hover",
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] });
    };
    paint();
    if (click) picture.on("plotly_click", (event) => { if (event.points[0]) click(event.points[0]); });
    const entry = { picture, paint };
    drawn.add(entry);
    return entry;
  };

  /** Draw all charts that are still there again: the colours have changed. */
  report.repaint = () => {
    for (const entry of drawn) entry.picture.isConnected ? entry.paint() : drawn.delete(entry);
  };

  report.style = style;

  /** Whether positive values span so much that a logarithmic axis is better. */
  report.scale = (values) => {
    const finite = values.filter((v) => v !== null);
    return finite.length && Math.min(...finite) > 0 && Math.max(...finite) >= 30 * Math.min(...finite) ? "log" : "linear";
  };

  /** The points of lines as one trace per family: x and y by column, bars, selected lines ringed. */
  report.scatter = (lines, x, y, { labels = false, colour = "recipe", legend = true, xaxis, yaxis, seen } = {}) => {
    const chosen = new Set(report.selection());
    const named = (line) => (colour === "recipe" ? line.recipe : String(report.cell(line, colour)?.[1] ?? line[colour] ?? "–"));
    const groups = new Map();
    for (const line of lines) {
      if (report.value(line, x) === null || report.value(line, y) === null) continue;
      if (!groups.has(named(line))) groups.set(named(line), []);
      groups.get(named(line)).push(line);
    }
    const many = lines.length > 2000;
    const names = colour === "recipe" ? families : [...groups.keys()].sort();
    return [...groups].map(([name, members]) => {
      const place = Math.max(0, names.indexOf(name));
      const error = (side, of) => members.map((line) => {
        const entry = report.cell(line, of);
        return entry.length > 3 && entry[3] !== null ? Math.abs(entry[side] - entry[0]) : 0;
      });
      const bars = (of) => many ? undefined : { type: "data", symmetric: false, array: error(4, of),
        arrayminus: error(3, of), thickness: 1, width: 3, color: COLOURS[place % COLOURS.length] };
      const first = seen ? !seen.has(name) : true;
      if (seen) seen.add(name);
      return {
        type: many ? "scattergl" : "scatter", mode: labels ? "markers+text" : "markers", name: inert(name),
        legendgroup: name, showlegend: legend && first, xaxis, yaxis, x: members.map((l) => report.value(l, x)),
        y: members.map((l) => report.value(l, y)), error_x: bars(x), error_y: bars(y),
        text: labels ? members.map((l) => inert(l.name)) : undefined, textposition: positions(members, x),
        textfont: { size: 12, color: style("--soft") }, customdata: members.map((l) => l.id),
        hovertemplate: members.map((l) => report.hover(l, [x, y])),
        marker: { color: COLOURS[place % COLOURS.length], symbol: SYMBOLS[place % SYMBOLS.length],
          size: members.map((l) => (chosen.has(l.id) ? 15 : 9)), opacity: members.map((l) => (!chosen.size || chosen.has(l.id) ? 0.95 : 0.35)),
          line: { width: members.map((l) => (chosen.has(l.id) ? 2.5 : 0.75)), color: members.map((l) => style(chosen.has(l.id) ? "--text" : "--raised")) } },
      };
    });
  };

  /** Labels beside their points and inside the picture: to the left of points in the right half. */
  function positions(members, x) {
    const values = members.map((l) => report.value(l, x));
    const all = report.data.lines.map((l) => report.value(l, x)).filter((v) => v !== null);
    const middle = (Math.min(...values, ...(values.length > 1 ? [] : all)) + Math.max(...values, ...(values.length > 1 ? [] : all))) / 2;
    return values.map((v) => (v > middle ? "top left" : "top right"));
  }

  report.hover = (line, names) => {
    const facts = names.map((name) => `${inert(report.title(name))}: ${inert(report.text(line, name))}`);
    const section = report.data.sections[line.section];
    return `<b>${inert(line.name)}</b><br>${inert(section.title)}<br>${facts.join("<br>")}<extra></extra>`;
  };
})();
