// A picture as a file: PNG that says how it was made, as those of the program do (`stylegan info`, `generate --like`).

const GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
const utf8 = text => new TextEncoder().encode(text);

/** The PNG of what a canvas shows now, with the record of its making, a promise: Blob. */
export async function png(canvas, making) {
  const plain = await new Promise(resolve => canvas.toBlob(resolve, "image/png")), record = await making;
  const bytes = new Uint8Array(await plain.arrayBuffer()), head = 8 + 25; // the signature and IHDR
  const words = [["stylegan-made", ascii(JSON.stringify(record))], ["XML:com.adobe.xmp", xmp(record.program)]];
  const texts = words.map(([key, text]) => chunk("iTXt", utf8(`${key}\0\0\0\0\0${text}`)));
  const software = chunk("tEXt", utf8(`Software\0${record.program}`));
  return new Blob([bytes.slice(0, head), software, ...texts, bytes.slice(head)], { type: "image/png" });
}

/** w [num_layers * w_dim] as the record keeps it: float32, little-endian, packed by zlib, in base 64. */
export async function packed(w, shape) {
  const stream = new Blob([w]).stream().pipeThrough(new CompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  return { shape, float32: btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join("")) };
}

const ascii = text => text.replace(/[^ -~]/g, c => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

const xmp = program =>
  '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>' +
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
  '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"' +
  ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">' +
  `<Iptc4xmpExt:DigitalSourceType>${GENERATED}</Iptc4xmpExt:DigitalSourceType>` +
  `<xmp:CreatorTool>${program}</xmp:CreatorTool>` +
  '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>';

function chunk(kind, body) {
  const bytes = new Uint8Array(12 + body.length), view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  bytes.set(utf8(kind), 4);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc32(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
