import { decodeImage, imageSize, type RgbImage } from './image.ts'

/** Larger pictures wait for their turn: two of them decoded take hundreds of megabytes. */
const MOST_PIXELS = 25e6

/** A file, and a name of what is in it. */
interface Picture {
  path: string
  key: string
}

/** The picture that comes next, decoded by other threads while this one computes. */
export class DecodedAhead {
  #next: (Picture & { image: Promise<RgbImage | null> }) | null = null

  /** Begins with a picture, instead of one that was begun before. */
  begin({ path, key }: Picture): void {
    if (this.#has({ path, key })) return
    const image = small(path).catch(() => null) // told by `take`
    this.#next = { path, key, image }
  }

  /** The picture, whether or not it was begun. @throws GromaError IMAGE_UNREADABLE */
  async take({ path, key }: Picture): Promise<RgbImage> {
    const begun = this.#has({ path, key }) ? this.#next : null
    if (begun) this.#next = null
    return (await begun?.image) ?? decodeImage(path)
  }

  #has({ path, key }: Picture): boolean {
    return this.#next?.path === path && this.#next.key === key
  }
}

async function small(path: string): Promise<RgbImage | null> {
  const { width, height } = await imageSize(path)
  return width * height > MOST_PIXELS ? null : decodeImage(path)
}
