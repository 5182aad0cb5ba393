// The picture, large; A and B with a divider between them; seed, truncation and what else is always at hand.
import { h, icon, iconButton, showPicture, slider } from "./dom.js"
import { ask, askPicture } from "./server.js"

export class Stage {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.colors = "" // of the last whole picture, for previews where the network is slow
    this.asking = null // until the newest picture is there
    this.wanted = false
    this.now = h("img", { class: "now", alt: "", draggable: "false" })
    this.held = h("img", { class: "held", alt: "", draggable: "false" })
    this.divider = h("input", { type: "range", class: "divider", min: 0, max: 1, step: 0.001, "aria-label": "divider between A and B" })
    this.divider.oninput = () => this.divide(+this.divider.value)
    this.divider.onchange = () => this.state.see({ split: +this.divider.value })
    this.frame = h("div", { id: "picture", class: "frame" }, this.now, this.held, h("div", { class: "edge" }, h("span", {}, icon("split"))),
      this.divider, h("span", { class: "badge a" }, "A"), h("span", { class: "badge b" }, "B"),
      iconButton("large", "show it large (L)", () => this.large(), { id: "large" }))
    this.frame.ondblclick = (event) => event.target !== this.divider && this.large()
    this.caption = h("p", { id: "caption", "aria-live": "polite" })
    this.element = h("section", { class: "stage", "aria-label": "picture" }, h("div", { class: "room" }, this.frame), this.caption, this.controls())
  }

  controls() {
    const { state, app } = this
    this.seed = h("input", { id: "seed", type: "number", min: 0, max: 4294967295, step: 1, "aria-label": "seed" })
    this.seed.onchange = () => this.toSeed(Math.min(4294967295, Math.max(0, Math.round(+this.seed.value || 0))))
    this.psi = h("div")
    this.player = iconButton("play", "endless walk (space)", () => app.walker.toggle(), { id: "play" })
    this.hold = iconButton("split", "hold as A, to compare (A)", () => this.toggleA(), { id: "hold", "aria-pressed": "false" })
    this.star = iconButton("star", "keep as a favorite (F)", () => app.favorites.toggle(), { id: "star", "aria-pressed": "false" })
    return h("div", { class: "transport" },
      h("div", { class: "stepper" },
        iconButton("left", "seed before (←)", () => this.step(-1)), this.seed, iconButton("right", "next seed (→)", () => this.step(1)),
        iconButton("dice", "a random seed (R)", () => this.toSeed(Math.floor(Math.random() * 100_000)), { id: "random" })),
      this.psi, h("div", { class: "doings" }, this.player, this.hold, this.star))
  }

  toSeed(seed) {
    this.state.set({ seed, found: "", along: 0 })
  }

  step(by) {
    const { values } = this.state
    this.toSeed(values.found ? values.seed : Math.min(4294967295, Math.max(0, values.seed + by)))
  }

  /** Begin with a model. */
  begin() {
    const { about, values } = this.state
    this.colors = ""
    this.frame.style.setProperty("--shape", `${about.width} / ${about.height}`)
    this.frame.style.setProperty("--ratio", about.width / about.height)
    const set = (live) => (psi) => this.state.set({ psi }, live)
    const element = slider({ id: "psi", label: "Truncation ψ", min: -1, max: 1.5, step: 0.01, value: values.psi, center: 0,
      moved: set(true), settled: set(false), disabled: !about.has_w })
    this.psi.replaceWith(element)
    this.psi = element
    this.showA()
  }

  update() {
    const { values } = this.state
    this.seed.value = values.seed
    this.psi.set(values.psi)
    this.star.setAttribute("aria-pressed", this.app.favorites.has(this.state.query))
    this.ask()
  }

  /** Ask for the picture of the state, and when that is there for the newest, until there is nothing newer. */
  ask() {
    this.wanted = true
    this.asking ??= this.draw()
    return this.asking
  }

  async draw() {
    while (this.wanted) {
      this.wanted = false
      const draft = this.state.about.slow && this.app.moving && this.colors ? `&draft=${this.colors}` : ""
      const query = this.state.query
      try {
        const answer = await ask(`picture?${query}${draft}`)
        this.colors = answer.headers.get("x-colors") ?? this.colors
        await this.show(URL.createObjectURL(await answer.blob()), decodeURIComponent(answer.headers.get("x-caption")), query)
        this.app.say("")
      } catch (error) {
        if (await this.app.recover(error)) this.wanted = true
        else this.app.walker.stop()
      }
    }
    this.asking = null
    this.app.drawn?.()
  }

  async show(url, caption, query) {
    const before = this.now.src
    this.now.src = url
    await this.now.decode().catch(() => {})
    this.now.alt = caption
    this.now.dataset.address = query
    this.caption.textContent = caption
    if (before) URL.revokeObjectURL(before)
  }

  /** Lay an element over the picture; with null take it away. */
  lay(element) {
    this.laid?.remove()
    this.laid = element
    if (element) this.frame.append(element)
    this.frame.classList.toggle("laid", Boolean(element))
  }

  // --- A and B

  toggleA() {
    this.state.see({ a: this.state.view.a ? "" : this.state.query })
    this.showA()
  }

  async showA() {
    const { a, split } = this.state.view
    this.frame.classList.toggle("compares", Boolean(a))
    this.hold.setAttribute("aria-pressed", Boolean(a))
    this.divide(split)
    if (!a || this.held.dataset.address === a) return
    try {
      const url = await askPicture(`picture?${a}`)
      if (this.state.view.a !== a) return URL.revokeObjectURL(url)
      showPicture(this.held, url)
      this.held.dataset.address = a
    } catch (error) {
      this.app.say(error)
    }
  }

  divide(split) {
    this.divider.value = split
    this.frame.style.setProperty("--split", `${100 * split}%`)
  }

  // --- large

  /** The picture over the whole window: wheel and pinch zoom, a drag moves it. */
  large() {
    const image = h("img", { src: this.now.src, alt: this.now.alt, draggable: "false" })
    const place = { x: 0, y: 0, zoom: 1 }
    const whole = () => Math.min(innerWidth / image.naturalWidth, (innerHeight - 64) / image.naturalHeight)
    const put = () => {
      image.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.zoom})`
      size.textContent = `${image.naturalWidth} × ${image.naturalHeight} · ${Math.round(100 * place.zoom)} %`
    }
    const fit = (zoom) => (Object.assign(place, { x: 0, y: 0, zoom }), put())
    const size = h("span", { class: "size" })
    const pixels = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
      const on = image.classList.toggle("pixels")
      pixels.setAttribute("aria-pressed", on)
    } }, "Pixels")
    const dialog = h("dialog", { class: "large", "aria-label": "the picture, large" }, h("div", { class: "canvas" }, image),
      h("div", { class: "bar" }, size, h("button", { type: "button", onclick: () => fit(whole()) }, "Fit"),
        h("button", { type: "button", onclick: () => fit(1) }, "1 : 1"), pixels,
        iconButton("close", "close", () => dialog.close())))
    const pointers = new Map()
    dialog.onwheel = (event) => {
      event.preventDefault()
      zoomBy(Math.exp(-event.deltaY / 400))
    }
    const zoomBy = (factor) => {
      place.zoom = Math.min(32, Math.max(0.1, place.zoom * factor))
      put()
    }
    const canvas = dialog.querySelector(".canvas")
    canvas.onpointerdown = (event) => {
      pointers.set(event.pointerId, event)
      canvas.setPointerCapture(event.pointerId)
    }
    canvas.onpointermove = (event) => {
      const before = pointers.get(event.pointerId)
      if (!before) return
      const apart = () => {
        const [a, b] = [...pointers.values()]
        return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)
      }
      const distance = pointers.size === 2 ? apart() : 0
      pointers.set(event.pointerId, event)
      if (pointers.size === 2) zoomBy(apart() / (distance || 1))
      else Object.assign(place, { x: place.x + event.clientX - before.clientX, y: place.y + event.clientY - before.clientY })
      put()
    }
    canvas.onpointerup = canvas.onpointercancel = (event) => pointers.delete(event.pointerId)
    dialog.onclose = () => dialog.remove()
    this.element.getRootNode().append(dialog)
    dialog.showModal()
    image.decode().then(() => fit(whole()))
  }
}
