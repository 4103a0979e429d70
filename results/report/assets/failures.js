"use strict";
// What failed, why, and the end of its log.

(() => {
  const { el, data } = report;

  report.views.failures = (main) => {
    main.append(el("h1", {}, "Failures"));
    if (!data.failures.length) main.append(el("p", { class: "quiet" }, "Nothing has failed."));
    for (const one of data.failures) {
      main.append(el("article", { class: "card failure" }, el("h2", {}, `${one.kind}: ${one.type}`), el("p", {}, one.message),
        el("dl", {}, fact("cells", one.cells.join(", ")), fact("raised at", one.where), fact("device", [one.device, one.host].filter(Boolean).join(" on ")), fact("job", one.job), fact("log", one.log), fact("tried again by", [el("code", {}, one.again), `, with the suite ${one.suite} as before: what has finished is not done twice`])),
        one.tail ? el("details", {}, el("summary", {}, "The end of its log"), el("pre", { tabindex: "0" }, one.tail)) : null));
    }
  };

  const fact = (name, value) => (value && value !== "" ? [el("dt", {}, name), el("dd", {}, value)] : []);
})();
