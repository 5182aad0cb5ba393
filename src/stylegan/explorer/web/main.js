// The explorer: a component that is all of the page.
import { Favorites } from "./favorites.js"
import { h, icon, iconButton } from "./dom.js"
import { drag } from "./tab-drag.js"
import { edit } from "./tab-edit.js"
import { layers } from "./tab-layers.js"
import { mix } from "./tab-mix.js"
import { near } from "./tab-near.js"
import { photo } from "./tab-photo.js"
import { run } from "./tab-run.js"
import { save } from "./tab-save.js"
import { seeds } from "./tab-seeds.js"
import { walk } from "./tab-walk.js"
import { ask, askJson, bytesOf, Sentence, textOf } from "./server.js"
import { Stage } from "./stage.js"
import { fromQuery, State } from "./state.js"
import { Walker } from "./walker.js"

// A tab: its name, its title, and a function of the app that gives {element, update?(), hide?(), close?()}. update() is
// called after each change while the tab is open, and when it is opened; hide() when another is opened; close() when
// another model is. Another tab is a file of its own and a line here.
const TABS = [
  ["seeds", "Seeds", seeds],
  ["mix", "Mix", mix],
  ["edit", "Edit", edit],
  ["drag", "Drag", drag],
  ["layers", "Layers", layers],
  ["walk", "Walk", walk],
  ["photo", "Photo", photo],
  ["near", "Nearest", near],
  ["run", "Models", run],
  ["save", "Save", save],
]

const KEYS = [
  ["← →", "the seed before, the next"],
  ["↑ ↓", "ten seeds on, ten back"],
  ["[ ]", "truncation ψ down, up"],
  ["R", "a random seed"],
  ["F", "keep as a favorite"],
  ["A", "hold as A, to compare"],
  ["L", "show it large"],
  ["space", "endless walk"],
  ["Ctrl Z", "undo"],
  ["Ctrl ⇧ Z", "redo"],
  ["1 – 9, 0", "the tabs"],
  ["double click", "a slider goes back"],
  ["?", "this list"],
]

class Explorer extends HTMLElement {
  async connectedCallback() {
    if (this.state) return
    this.state = new State()
    this.attachShadow({ mode: "open" })
    const style = h("link", { rel: "stylesheet", href: new URL("style.css", import.meta.url) })
    const loaded = new Promise((resolve) => (style.onload = style.onerror = resolve))
    this.shadowRoot.append(style)
    this.look(document.documentElement.dataset.look ?? "")
    await loaded
    this.stage = new Stage(this)
    this.favorites = new Favorites(this)
    this.walker = new Walker(this)
    this.stage.element.append(this.favorites.element)
    this.message = h("div", { class: "message", role: "status", "aria-live": "polite" })
    this.panel = h("div", { class: "panel", role: "tabpanel", tabindex: "-1" })
    this.tabs = h("nav", { class: "tabs", role: "tablist", "aria-label": "what to do" })
    this.shadowRoot.append(h("div", { class: "app" }, this.header(), this.stage.element, h("section", { class: "side" }, this.tabs, this.panel)), this.message)
    this.state.addEventListener("change", (event) => this.changed(event.detail.live))
    addEventListener("keydown", (event) => this.key(event))
    addEventListener("hashchange", ({ newURL }) => this.follow(new URL(newURL).hash.slice(1)))
    try {
      const { first, models } = await askJson("models")
      this.models = models
      this.first = first
      await this.go(location.hash.slice(1))
      await this.favorites.begin()
    } catch (error) {
      this.say(error)
    }
    this.classList.add("ready")
  }

  header() {
    this.chooser = h("select", { id: "model", "aria-label": "model" })
    this.chooser.onchange = () => this.toModel(this.chooser.value)
    this.undo = iconButton("undo", "undo (Ctrl Z)", () => this.state.undo(), { id: "undo" })
    this.redo = iconButton("redo", "redo (Ctrl ⇧ Z)", () => this.state.redo(), { id: "redo" })
    return h("header", {}, h("span", { class: "brand" }, "stylegan"), this.chooser, h("span", { class: "space" }), this.undo, this.redo,
      iconButton("link", "copy the address, which holds all of this", () => this.share(), { id: "share" }),
      iconButton("look", "light, dark, or as the system", () => this.nextLook(), { id: "look" }),
      iconButton("help", "keys (?)", () => this.help(), { id: "help" }))
  }

  // --- states

  /** Go to what an address says: a model, a picture, a tab. As a step that can be undone, where the model stays. */
  async go(text) {
    const key = new URLSearchParams(text).get("model") || this.first
    this.going = text
    if (this.state.about?.key === key) return this.state.set(fromQuery(text, this.state.about))
    this.say("reading the model …")
    try {
      const about = await askJson(`model?model=${encodeURIComponent(key)}`)
      if (this.going !== text) return // somewhere else by now
      this.state.readView(text)
      this.state.begin(about, text)
      this.begin()
    } catch (error) {
      if (this.going !== text) return
      this.say(error)
      if (this.state.about) this.chooser.value = this.state.about.key
      else if (key !== this.first) {
        await this.go("")
        await this.stage.ask()
        this.say(error) // still, over the picture of the first model
      }
    }
  }

  /** An address that somebody has typed, or pasted, over that of the page. */
  async follow(text) {
    const { about } = this.state
    await this.go(text)
    if (about !== this.state.about) return
    this.state.readView(text)
    this.open(this.opened.has(this.state.view.tab) || this.shadowRoot.getElementById(`tab-${this.state.view.tab}`) ? this.state.view.tab : "seeds")
    this.stage.showA()
  }

  /** The same picture by another model. */
  async toModel(key) {
    const query = new URLSearchParams(this.state.query)
    query.set("model", key)
    if (this.state.view.tab !== "seeds") query.set("tab", this.state.view.tab)
    if (this.state.view.a) query.set("A", this.state.view.a)
    await this.go(query.toString())
  }

  /** Begin with the model of the state. */
  begin() {
    const { about } = this.state
    const groups = Map.groupBy ? Map.groupBy(this.models, (model) => model.group) : grouped(this.models)
    this.chooser.replaceChildren(...[...groups].map(([group, models]) => h("optgroup", { label: group },
      ...models.map((model) => h("option", { value: model.key }, model.run ? `${group} · ${model.title}` : model.title)))))
    this.chooser.value = about.key
    document.title = `stylegan: ${about.name}`
    this.walker.stop()
    for (const tab of this.opened?.values() ?? []) tab.close?.()
    this.opened = new Map()
    this.shown = null
    this.stage.begin()
    const shown = TABS.filter(([name]) => name !== "near" || about.compares)
    this.tabs.replaceChildren(...shown.map(([name, title]) => h("button", { type: "button", role: "tab", id: `tab-${name}`,
      onclick: () => this.open(name) }, icon(name), h("span", {}, title))))
    this.tabs.onkeydown = (event) => this.moveTab(event, shown.map(([name]) => name))
    this.open(shown.some(([name]) => name === this.state.view.tab) ? this.state.view.tab : "seeds")
    this.changed(false)
  }

  open(name) {
    this.state.see({ tab: name })
    for (const tab of this.tabs.children) {
      tab.setAttribute("aria-selected", tab.id === `tab-${name}`)
      tab.tabIndex = tab.id === `tab-${name}` ? 0 : -1
    }
    if (!this.opened.has(name)) this.opened.set(name, TABS.find(([each]) => each === name)[2](this))
    const tab = this.opened.get(name)
    if (this.shown !== tab) this.shown?.hide?.()
    this.shown = tab
    const { element, update } = tab
    this.panel.replaceChildren(element)
    this.panel.setAttribute("aria-labelledby", `tab-${name}`)
    this.panel.scrollTop = 0
    update?.()
  }

  moveTab(event, names) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    const name = names[(names.indexOf(this.state.view.tab) + step + names.length) % names.length]
    this.open(name)
    this.shadowRoot.getElementById(`tab-${name}`).focus()
    event.preventDefault()
    event.stopPropagation()
  }

  changed(live) {
    this.moving = live
    this.stage.update()
    if (!live || this.walker.running) this.opened.get(this.state.view.tab)?.update?.(live)
    this.undo.disabled = !this.state.past.length
    this.redo.disabled = !this.state.future.length
  }

  // --- sentences

  /** Show a sentence, of an error too; "" takes it away. */
  say(what) {
    const text = what instanceof Sentence ? what.message : what instanceof Error ? `something went wrong: ${what.message}` : what
    if (what instanceof Error && !(what instanceof Sentence)) console.error(what)
    this.message.textContent = text
    this.message.classList.toggle("shown", Boolean(text))
  }

  /** Keep latents that were found, in this browser too: the server forgets them when it ends. */
  async keepFound(found) {
    try {
      const query = new URLSearchParams({ model: this.state.about.key, found })
      const content = new Uint8Array(await (await ask(`save?what=latents&${query}`)).arrayBuffer())
      if (content.length > 300_000) return
      const text = textOf(content)
      try {
        localStorage.setItem(`stylegan-found-${found}`, text)
      } catch {
        // it is full: what no favorite needs goes
        const needed = JSON.stringify(this.favorites.all)
        const names = Object.keys(localStorage).filter((name) => name.startsWith("stylegan-found-") && !needed.includes(name.slice(15)))
        for (const name of names) localStorage.removeItem(name)
        localStorage.setItem(`stylegan-found-${found}`, text)
      }
    } catch {}
  }

  /** After an error: give the server what it has forgotten, where this browser has it. True where that helped. */
  async recover(error) {
    const { found } = this.state.values
    if (found && /not here any more/.test(error.message) && this.recovered !== found) {
      this.recovered = found
      const query = new URLSearchParams({ model: this.state.about.key, name: "found.safetensors" })
      try {
        const kept = localStorage.getItem(`stylegan-found-${found}`)
        if (kept) return (await askJson(`latents?${query}`, { method: "POST", body: bytesOf(kept) })).found === found
      } catch {}
    }
    this.say(error)
    return false
  }

  async share() {
    try {
      await navigator.clipboard.writeText(location.href)
      this.say("The address is copied; it holds all of this.")
    } catch {
      this.say("Copy the address of this page; it holds all of this.")
    }
    setTimeout(() => this.say(""), 2500)
  }

  // --- looks and keys

  look(name) {
    this.setAttribute("look", name)
    document.documentElement.style.colorScheme = name || "light dark"
  }

  nextLook() {
    const looks = ["", "light", "dark"]
    const name = looks[(looks.indexOf(this.getAttribute("look")) + 1) % 3]
    localStorage.setItem("stylegan-look", name)
    this.look(name)
    this.say(`Look: ${name || "as the system"}.`)
    setTimeout(() => this.say(""), 1500)
  }

  help() {
    const dialog = h("dialog", { class: "help", "aria-label": "keys" }, h("h2", {}, "Keys"),
      h("dl", {}, ...KEYS.flatMap(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)])),
      h("button", { type: "button", class: "main", onclick: () => dialog.close() }, "Close"))
    dialog.onclose = () => dialog.remove()
    this.shadowRoot.append(dialog)
    dialog.showModal()
  }

  key(event) {
    const target = event.composedPath()[0]
    const { state, stage } = this
    if (!state.about || this.shadowRoot.querySelector("dialog[open]")) return
    const letter = event.key.toLowerCase()
    const typing = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select")
    if ((event.ctrlKey || event.metaKey) && (letter === "z" || letter === "y")) {
      if (typing && target.type === "text") return
      event.preventDefault()
      return letter === "y" || event.shiftKey ? state.redo() : state.undo()
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return
    const onSlider = target.type === "range"
    const psi = (by) => state.about.has_w && state.set({ psi: +Math.min(1.5, Math.max(-1, state.values.psi + by)).toFixed(2) })
    const does = {
      "[": () => psi(-0.05),
      "]": () => psi(0.05),
      r: () => this.shadowRoot.getElementById("random").click(),
      f: () => this.favorites.toggle(),
      a: () => stage.toggleA(),
      l: () => stage.large(),
      "?": () => this.help(),
    }
    if (!onSlider) {
      Object.assign(does, { arrowleft: () => stage.step(-1), arrowright: () => stage.step(1), arrowup: () => stage.step(10), arrowdown: () => stage.step(-10) })
      if (!target.matches?.("button, a, summary")) does[" "] = () => this.walker.toggle()
    }
    const tab = /^[0-9]$/.test(letter) && this.tabs.children[(+letter + 9) % 10]
    if (!does[letter] && !tab) return
    event.preventDefault()
    if (tab) tab.click()
    else does[letter]()
  }
}

function grouped(models) {
  const groups = new Map()
  for (const model of models) groups.set(model.group, [...(groups.get(model.group) ?? []), model])
  return groups
}

customElements.define("stylegan-explorer", Explorer)

// Gradio needs a while before it shows its components, and the explorer does not wait for that
document.body.append(document.createElement("stylegan-explorer"))
