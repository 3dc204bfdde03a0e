"use strict";
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const kept = () => { try { return localStorage.getItem("bytegolf-theme"); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem("bytegolf-theme", value); } catch { /* not kept then */ } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const other = () => (shown() === "dark" ? "light" : "dark");
  const label = () => { button.textContent = "Switch to " + other(); };
  if (!root.dataset.theme && ["light", "dark"].includes(kept())) root.dataset.theme = kept();
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = other(); keep(root.dataset.theme); label(); });
  dark.addEventListener("change", label);
  label();

  const made = (name, text, cls) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (cls) element.className = cls;
    return element;
  };
  for (const strip of document.querySelectorAll(".strip")) {
    const facts = JSON.parse(document.getElementById(strip.id + "-facts").textContent);
    const panel = document.getElementById(strip.id + "-guesses");
    const tokens = [...strip.children];
    const show = (i) => {
      const [text, bits, bytes, guesses] = facts[i], head = made("h3");
      for (const token of tokens) token.classList.toggle("on", token === tokens[i]);
      head.append(made("b", text), ` cost ${bits.toFixed(2)} bits for ${bytes} ${bytes === 1 ? "byte" : "bytes"}; likeliest were`);
      const list = made("ol");
      const rows = guesses.map((guess) => [...guess]);
      if (!rows.some((row) => row[2])) rows.push([text, 2 ** -bits, true]);
      for (const [name, p, right] of rows) {
        const row = made("li", undefined, right ? "right" : ""), cell = made("span"), bar = made("i", undefined, "bar");
        bar.style.width = 100 * p + "%";
        cell.append(bar);
        row.append(made("span", name), cell, made("span", p >= 0.0001 ? (100 * p).toFixed(2) + " %" : "< 0.01 %"));
        list.append(row);
      }
      panel.replaceChildren(head, list);
    };
    const focus = (i) => {
      if (i < 0 || i >= tokens.length) return;
      for (const token of tokens) token.tabIndex = -1;
      tokens[i].tabIndex = 0;
      tokens[i].focus();
    };
    tokens.forEach((token, i) => {
      token.addEventListener("mouseenter", () => show(i));
      token.addEventListener("focus", () => show(i));
      token.addEventListener("click", () => focus(i));
      token.addEventListener("keydown", (event) => {
        const way = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (way) { event.preventDefault(); focus(i + way); }
      });
    });
    const dearest = facts.reduce((best, fact, i) => (fact[1] > facts[best][1] ? i : best), 0);
    tokens[dearest].tabIndex = 0;
    show(dearest);
  }
  const open = () => {
    const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (wanted instanceof HTMLDetailsElement) wanted.open = true;
  };
  addEventListener("hashchange", open);
  open();
  addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
})();
