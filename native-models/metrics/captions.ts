/** Captions that say the same: case, spaces around and a full stop at the end do not count. */
export function sameCaption(a: string, b: string): boolean {
  return plain(a) === plain(b)
}

const plain = (caption: string) => caption.toLowerCase().replace(/\s+/g, ' ').trim().replace(/ ?\.$/, '')
