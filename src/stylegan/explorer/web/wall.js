// A wall of seeds without an end: picked by a click.
import { calm, giveBack, h, isNear, showStrip, whenSeen } from "./dom.js"
import { askPicture } from "./server.js"
import { defaults, toQuery } from "./state.js"

const AT_ONCE = 12

/** picked(seed) is called with what is picked; chosen() says which one is now. */
export function wall(app, { picked, chosen, label }) {
  const { state } = app
  const grid = h("div", { class: "wall", role: "group", "aria-label": label })
  const end = h("div", { class: "end" })
  const element = h("div", {}, grid, end)
  let first = 0
  let next = 0
  let drawnFor = ""
  let busy = false

  /** What all seeds look by: class, truncation and noise. */
  const key = () => {
    const { psi, cutoff, class: label, noise, nseed } = state.values
    return toQuery({ ...defaults(state.about), psi, cutoff, class: label, noise, nseed }, state.about)
  }

  async function more() {
    if (busy || !element.isConnected || !element.checkVisibility()) return
    busy = true
    const now = drawnFor
    const cells = Array.from({ length: AT_ONCE }, (_, i) => cell(next + i))
    grid.append(...cells)
    next += AT_ONCE
    await fill(cells, now)
    busy = false
    if (element.checkVisibility() && isNear(end)) more()
  }

  async function fill(cells, now) {
    try {
      const url = await askPicture(`wall?${now}&first=${cells[0].dataset.seed}&count=${cells.length}&side=96`)
      if (now !== drawnFor || cells[0].parentNode !== grid) return URL.revokeObjectURL(url) // they look otherwise by now
      showStrip(cells, url)
      for (const each of cells) each.classList.add("drawn")
    } catch (error) {
      app.say(error)
    }
  }

  function cell(seed) {
    const button = h("button", { class: "cell", type: "button", "data-seed": seed, "aria-label": `seed ${seed}`, title: `seed ${seed}` },
      h("span", {}, String(seed)))
    button.onclick = (event) => picked(seed, event)
    button.setAttribute("aria-pressed", seed === chosen())
    return button
  }

  /** Draw it anew from a seed on. */
  function begin(seed) {
    first = next = seed
    drawnFor = key()
    giveBack(grid.children)
    grid.replaceChildren()
    more()
  }

  /** Draw the same seeds anew, since they look otherwise now. */
  const redraw = calm(async () => {
    if (!element.isConnected || !element.checkVisibility() || drawnFor === key()) return
    drawnFor = key()
    const now = drawnFor
    const cells = [...grid.children]
    for (let i = 0; i < cells.length && now === drawnFor; i += AT_ONCE) await fill(cells.slice(i, i + AT_ONCE), now)
  }, 300)

  whenSeen(more).observe(end)
  element.begin = begin
  element.update = () => {
    for (const each of grid.children) each.setAttribute("aria-pressed", +each.dataset.seed === chosen())
    if (!grid.children.length) begin(first)
    else redraw()
  }
  element.style.setProperty("--shape", `${state.about.width} / ${state.about.height}`)
  return element
}
