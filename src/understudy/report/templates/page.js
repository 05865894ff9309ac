"use strict";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/* Figures come without colours: a trace names one in its `meta`, and the style sheet knows it in light and dark. */
function coloured(spec, plot) {
  const { data, layout } = structuredClone(spec);
  for (const trace of data) {
    const colour = css(trace.meta.colour);
    if (trace.type === "heatmap") {
      trace.colorscale = [[0, css("sunken")], [1, colour]];
      trace.textfont = { size: plot.clientWidth < 340 ? 9 : 12 };
    } else {
      trace.marker = { ...trace.marker, color: colour };
      if (trace.line) trace.line = { ...trace.line, color: colour };
    }
  }
  const axis = { gridcolor: css("rule"), linecolor: css("rule"), zerolinecolor: css("rule"), automargin: true, fixedrange: matchMedia("(pointer: coarse)").matches };
  for (const name of ["xaxis", "yaxis"]) {
    layout[name] = { ...axis, ...layout[name] };
    if (layout[name].minor) layout[name].minor = { gridcolor: css("rule"), ...layout[name].minor };
    if (layout[name].title) layout[name].title = { standoff: 8, ...layout[name].title };
  }
  return {
    data,
    layout: {
      ...layout,
      autosize: true,
      margin: { l: 8, r: 12, t: 8, b: 8 },
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("muted") },
      legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", font: { color: css("ink") } },
      hovermode: layout.hovermode || (data[0] && data[0].type === "heatmap" ? "closest" : "x unified"),
      hoverlabel: { bgcolor: css("paper"), bordercolor: css("rule"), font: { color: css("ink") } },
    },
  };
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function drawAll() {
  const packed = document.getElementById("plotly");
  if (!packed) return;
  const plots = [...document.querySelectorAll(".plot")].map((plot) => [plot, JSON.parse(plot.textContent)]);
  try {
    const library = document.createElement("script");
    library.textContent = await unpack(packed.textContent);
    document.head.append(library);
    const draw = async (plot, spec) => {
      const { data, layout } = coloured(spec, plot);
      await Plotly.react(plot, data, layout, { responsive: true, displayModeBar: false });
    };
    /* A figure in a closed part of the page has no width: it is drawn, or fitted anew, when that is opened. */
    const shown = (plot) => !plot.closest("details:not([open])");
    const drawn = (plot) => plot.matches(".js-plotly-plot");
    const show = async (plot, spec) => {
      if (!shown(plot)) return;
      if (drawn(plot)) return Plotly.Plots.resize(plot);
      plot.replaceChildren();
      await draw(plot, spec);
    };
    for (const part of document.querySelectorAll("details")) {
      part.addEventListener("toggle", () => plots.forEach(([plot, spec]) => { if (part.contains(plot)) show(plot, spec); }));
    }
    for (const [plot, spec] of plots) await show(plot, spec);
    const redraw = () => plots.forEach(([plot, spec]) => { if (drawn(plot)) draw(plot, spec); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; redraw(); });
    addEventListener("afterprint", () => { delete document.documentElement.dataset.print; redraw(); });
    document.documentElement.dataset.charts = "drawn";
  } catch (error) {
    console.error(error);
    document.documentElement.dataset.charts = "failed";
    for (const [plot] of plots) plot.textContent = "This chart needs a browser of 2023 or newer.";
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}

drawAll();
