// Questions to the server. What the user can mend comes back as a sentence.

export class Sentence extends Error {}

export async function ask(path, options) {
  let answer
  try {
    answer = await fetch(`explorer/${path}`, options)
  } catch (error) {
    if (error.name === "AbortError") throw error
    throw new Sentence("the server does not answer; is it still running?")
  }
  if (!answer.ok) {
    const text = await answer.text()
    let sentence = text
    try {
      sentence = JSON.parse(text).error ?? text
    } catch {}
    throw new Sentence(sentence.length < 500 ? sentence : `the server answers ${answer.status}`)
  }
  return answer
}

export const askJson = async (path, options) => (await ask(path, options)).json()

/** A picture as an address inside this page, to be given back with URL.revokeObjectURL. */
export const askPicture = async (path, options) => URL.createObjectURL(await (await ask(path, options)).blob())

/** The objects of an answer that comes line by line. */
export async function* lines(path, options) {
  const reader = (await ask(path, options)).body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  for (;;) {
    const { value, done } = await reader.read()
    rest += value ?? ""
    const parts = rest.split("\n")
    rest = parts.pop()
    for (const part of parts) {
      const line = JSON.parse(part)
      if (line.error) throw new Sentence(line.error)
      yield line
    }
    if (done) return
  }
}

/** The bytes of a text in base 64, and the text of bytes. */
export const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
export const textOf = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))

/** Save an answer as a file. */
export async function download(path, options) {
  const answer = await ask(path, options)
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "download"
  saveAs(await answer.blob(), name)
}

export function saveAs(blob, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
