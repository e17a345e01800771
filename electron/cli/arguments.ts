/** Option values that need more than a string. */
import { InvalidArgumentError } from 'commander'

export type Quadruple = [number, number, number, number]

/** `x,y,w,h` (or `cx,cy,w,h`): four numbers, the last two positive. Repeatable. */
export function parseBox(text: string, previous: Quadruple[] = []): Quadruple[] {
  const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  if (numbers.length !== 4 || numbers.some((value) => !Number.isFinite(value))) {
    throw new InvalidArgumentError('A box is four numbers with commas between them: 10,20,100,50.')
  }
  if (numbers[2]! <= 0 || numbers[3]! <= 0) throw new InvalidArgumentError('Width and height must be greater than 0.')
  return [...previous, numbers as Quadruple]
}

/** An option that may be given several times. */
export const collect = (value: string, previous: string[] = []): string[] => [...previous, value]

/** A whole number in a range. */
export const integerIn =
  (low: number, high: number) =>
  (text: string): number => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < low || value > high) {
      throw new InvalidArgumentError(`Must be a whole number from ${low} to ${high}.`)
    }
    return value
  }

/** A score, 0 to 1. */
export function parseScore(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 1)) throw new InvalidArgumentError('Must be a number from 0 to 1.')
  return value
}
