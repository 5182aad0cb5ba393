// Numbers as numpy has them: RandomState(seed).randn, and float16.

const LENGTH = 624, MIDDLE = 397;

/** numpy.random.RandomState: the Mersenne Twister MT19937, and normal numbers by the polar method. */
export class RandomState {
  /** @param {number | number[]} seed a whole number below 2**32, or several */
  constructor(seed) {
    this.key = new Uint32Array(LENGTH);
    this.place = LENGTH;
    this.kept = null; // the second of a pair of normal numbers
    if (Array.isArray(seed)) this.#seedBySeveral(seed);
    else this.#seed(seed);
  }

  #seed(seed) {
    const key = this.key;
    key[0] = seed;
    for (let i = 1; i < LENGTH; i++) key[i] = Math.imul(1812433253, key[i - 1] ^ (key[i - 1] >>> 30)) + i;
  }

  #seedBySeveral(seeds) {
    const key = this.key;
    this.#seed(19650218);
    let i = 1;
    const mix = (factor, addend) => {
      key[i] = (key[i] ^ Math.imul(key[i - 1] ^ (key[i - 1] >>> 30), factor)) + addend;
      if (++i === LENGTH) {
        key[0] = key[LENGTH - 1];
        i = 1;
      }
    };
    for (let n = 0; n < Math.max(LENGTH, seeds.length); n++)
      mix(1664525, seeds[n % seeds.length] + (n % seeds.length));
    for (let n = 1; n < LENGTH; n++) mix(1566083941, -i);
    key[0] = 0x80000000;
  }

  #renew() {
    const key = this.key;
    for (let i = 0; i < LENGTH; i++) {
      const y = (key[i] & 0x80000000) | (key[(i + 1) % LENGTH] & 0x7fffffff);
      key[i] = key[(i + MIDDLE) % LENGTH] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.place = 0;
  }

  /** 32 random bits. */
  bits() {
    if (this.place === LENGTH) this.#renew();
    let y = this.key[this.place++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** A number in [0, 1), of 53 random bits. */
  uniform() {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /** A standard normal number. */
  normal() {
    if (this.kept !== null) {
      const kept = this.kept;
      this.kept = null;
      return kept;
    }
    let a, b, square;
    do {
      a = 2 * this.uniform() - 1;
      b = 2 * this.uniform() - 1;
      square = a * a + b * b;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    this.kept = factor * a;
    return factor * b;
  }

  /** So many standard normal numbers: Float32Array. */
  normals(count) {
    const numbers = new Float32Array(count);
    for (let i = 0; i < count; i++) numbers[i] = this.normal();
    return numbers;
  }
}

/** The numbers of float16 bits: Uint16Array -> Float32Array. */
export function floatsOfHalves(bits) {
  return Float32Array.from(bits, half => {
    const exponent = (half >> 10) & 31, fraction = half & 1023, sign = half & 0x8000 ? -1 : 1;
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  });
}
