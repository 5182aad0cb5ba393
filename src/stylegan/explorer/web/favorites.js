// Favorites: below the picture; kept in the server's file, or in this browser.
import { h, iconButton } from "./dom.js"
import { askJson, askPicture, saveAs } from "./server.js"

const KEY = "stylegan-favorites"

const inBrowser = () => JSON.parse(localStorage.getItem(KEY) ?? "[]")

export class Favorites {
  constructor(app) {
    this.app = app
    this.all = []
    this.element = h("div", { class: "favorites", role: "group", "aria-label": "favorites" })
  }

  async begin() {
    try {
      this.all = this.app.state.about.kept_favorites ? await askJson("favorites") : inBrowser()
    } catch (error) {
      this.app.say(error)
    }
    this.show()
  }

  has(address) {
    return this.all.some((each) => each.address === address)
  }

  toggle() {
    const { query } = this.app.state
    if (this.has(query)) this.change({ remove: query })
    else this.change({ name: this.app.stage.caption.textContent.replace(/^[^·]*· /, ""), address: query })
  }

  /** Add one, {name, address}, or remove one, {remove: address}. */
  async change(what) {
    try {
      if (this.app.state.about.kept_favorites) {
        this.all = await askJson("keep", { method: "POST", body: JSON.stringify(what) })
      } else {
        this.all = inBrowser().filter((each) => each.address !== (what.remove ?? what.address)) // another window's too
        if (!what.remove) this.all.push(what)
        localStorage.setItem(KEY, JSON.stringify(this.all))
      }
    } catch (error) {
      this.app.say(error)
    }
    this.show()
    this.app.stage.star.setAttribute("aria-pressed", this.has(this.app.state.query))
  }

  show() {
    const pictures = new Map([...this.element.children].map((each) => [each.dataset.address, each]))
    const items = this.all.map((each) => pictures.get(each.address) ?? this.item(each))
    this.element.replaceChildren(...(items.length ? items : [h("p", { class: "hint" }, "Favorites stand here: the star, or F.")]))
  }

  item({ name, address }) {
    const image = h("img", { alt: name, loading: "lazy" })
    const item = h("div", { class: "favorite", "data-address": address },
      h("button", { type: "button", title: name, "aria-label": `favorite: ${name}`, onclick: () => this.app.go(address) }, image),
      iconButton("close", `remove ${name}`, () => this.change({ remove: address }), { class: "icon remove" }))
    askPicture(`picture?${address}&side=96`).then((url) => (image.src = url), () => item.classList.add("gone"))
    return item
  }

  /** As a file. */
  save() {
    const content = { kind: "stylegan-favorites", format_version: 1, favorites: this.all }
    saveAs(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }), "favorites.json")
  }

  /** Add those of a file. */
  async open(file) {
    try {
      const content = JSON.parse(await file.text())
      if (content.kind !== "stylegan-favorites") throw new Error()
      for (const { name, address } of content.favorites) await this.change({ name: String(name), address: String(address) })
    } catch {
      this.app.say(`${file.name} is no file of favorites`)
    }
  }
}
