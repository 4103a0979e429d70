"use strict";
// What the cheap numbers are worth: each proxy against the outcome, with what the outcome's noise allows.

(() => {
  const { el, data } = report;

  report.views.calibration = (main) => {
    main.append(el("h1", {}, "Calibration"), el("p", {}, "Which cheap numbers about latents predict how well a prior generates from them, over the tokenizers on this page."));
    if (!data.calibrations.length) main.append(el("p", { class: "quiet" }, "No data set has five tokenizers with samples of a prior: there is nothing to calibrate."));
    data.calibrations.forEach((one, at) => {
      const place = el("div"), drawn = one.proxies.filter((p) => p.rho);
      const draw = (name) => scatter(place, one, drawn.find((p) => p.name === name));
      main.append(el("section", {}, el("h2", {}, `${one.title}: ${one.outcome}`),
        drawn.length ? report.select("Proxy", drawn.map((p) => [p.name, `${p.name} (ρ ${report.number(p.rho[0], 2)})${p.baseline ? ", baseline" : ""}`]), drawn[0].name, draw, `proxy-${at}`) : null, place,
        report.table("Proxies, the best first", one.heads, one.lines), el("ul", { class: "small" }, one.notes.map((n) => el("li", {}, n)))));
      if (drawn.length) draw(drawn[0].name);
    });
  };

  function scatter(place, one, proxy) {
    const families = [...new Set(one.items.map((item) => item.family))];
    const ceiling = one.ceiling === null ? "The noise ceiling is not known, since tokenizers have one seed each." : `A proxy free of noise could reach ρ = ${report.number(one.ceiling, 2)}.`;
    report.chart(place, {
      caption: `${one.outcome} over ${proxy.name}: ρ = ${report.number(proxy.rho[0], 2)}${proxy.rho[1] === null ? "" : ` (${report.number(proxy.rho[1], 2)} to ${report.number(proxy.rho[2], 2)})`}. ${ceiling}`,
      draw: () => ({ traces: families.map((family) => {
        const members = one.items.map((item, i) => ({ ...item, x: proxy.values[i] })).filter((item) => item.family === family && item.x !== null);
        const look = report.look(family, families);
        return { type: "scatter", mode: "markers", name: report.inert(family), x: members.map((m) => m.x), y: members.map((m) => m.outcome), hovertemplate: members.map((m) => `${report.inert(m.name)}: %{y:.4~g}<extra></extra>`), marker: { size: 10, color: look.colour, symbol: look.symbol } };
      }), layout: { showlegend: families.length > 1, margin: { l: 60, r: 16, t: 48, b: 48 }, xaxis: { title: proxy.name, type: report.scale(proxy.values) }, yaxis: { title: one.outcome } } }),
      table: [["tokenizer", "family", proxy.name, one.outcome], one.items.map((item, i) => [item.name, item.family, report.number(proxy.values[i]), report.number(item.outcome)])],
    });
  }
})();
