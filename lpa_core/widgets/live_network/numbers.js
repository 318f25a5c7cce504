/* All learned numbers of a network, from the text that Python's packing.py makes: base85 of zipped bytes. The first bytes
   of all numbers, then the second ones, and so on; two bytes are a float16, four a float32. */

async function lpaNumbers(text, size) {

  function half(bits) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction / 1024 * 2 ** -14);
  }

  // Base85 as Python writes it, with a comma for "<": five letters are four bytes, and the last group may be shorter.
  function bytesOf(text) {
    const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
    const value = new Uint8Array(128), groups = Math.ceil(text.length / 5), view = new DataView(new ArrayBuffer(4 * groups));
    for (let k = 0; k < 85; k++) value[letters.charCodeAt(k)] = k;
    for (let i = 0; i < groups; i++) {
      let sum = 0;
      for (let k = 5 * i; k < 5 * i + 5; k++) sum = 85 * sum + (k < text.length ? value[text.charCodeAt(k)] : 84);
      view.setUint32(4 * i, sum);
    }
    return new Uint8Array(view.buffer, 0, Math.floor(text.length * 4 / 5));
  }

  const zipped = new Blob([bytesOf(text)]);
  const plain = await new Response(zipped.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const planes = new Uint8Array(plain), n = planes.length / size, bytes = new Uint8Array(planes.length);
  for (let i = 0; i < n; i++) for (let k = 0; k < size; k++) bytes[i * size + k] = planes[k * n + i];
  return size === 2 ? Float32Array.from(new Uint16Array(bytes.buffer), half) : new Float32Array(bytes.buffer);
}
