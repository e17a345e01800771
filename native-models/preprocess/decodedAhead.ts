import { decodeImage, imageSize, type RgbImage } from './image.ts'

/** Larger pictures wait for their turn: two of them decoded take hundreds of megabytes. */
const MOST_PIXELS = 25e6

/** The picture that comes next, decoded by other threads while this one computes. */
export class DecodedAhead {
  #next: { path: string; image: Promise<RgbImage | null> } | null = null

  /** Begins with a picture, instead of one that was begun before. */
  begin(path: string): void {
    if (this.#next?.path !== path) this.#next = { path, image: small(path).catch(() => null) } // told by `take`
  }

  /** The picture, whether or not it was begun. @throws GromaError IMAGE_UNREADABLE */
  async take(path: string): Promise<RgbImage> {
    const next = this.#next
    if (next?.path !== path) return decodeImage(path)
    this.#next = null
    return (await next.image) ?? decodeImage(path)
  }
}

async function small(path: string): Promise<RgbImage | null> {
  const { width, height } = await imageSize(path)
  return width * height > MOST_PIXELS ? null : decodeImage(path)
}
