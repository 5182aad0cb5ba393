// A wall of seeds without an end: picked by a click.
import { calm, h, whenSeen } from "./dom.js"
import { ask } from "./server.js"
import { toQuery } from "./state.js"

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

  const key = () => {
    const { psi, cutoff, class: label, noise, nseed } = state.values
    return toQuery({ ...state.values, seed: 0, psi, cutoff, class: label, noise, nseed, found: "", along: 0, b: 1, mix: [0, 0, 0],
      layers: [], noises: [], edit: {}, hold: [], on: ["coarse", "middle", "fine"] }, state.about)
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
    if (now === drawnFor && element.checkVisibility() && visible(end)) more()
  }

  async function fill(cells, now) {
    try {
      const answer = await ask(`wall?${now}&first=${cells[0].dataset.seed}&count=${cells.length}&side=96`)
      const url = URL.createObjectURL(await answer.blob())
      cells.forEach((each, i) => {
        each.style.backgroundImage = `url(${url})`
        each.style.backgroundSize = `${100 * cells.length}% 100%`
        each.style.backgroundPosition = `${cells.length > 1 ? (100 * i) / (cells.length - 1) : 0}% 0`
        each.classList.add("drawn")
      })
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

  const visible = (each) => {
    const box = each.getBoundingClientRect()
    return box.top < innerHeight + 200 && box.bottom > -200
  }

  /** Draw it anew from a seed on. */
  function begin(seed) {
    first = next = seed
    drawnFor = key()
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
