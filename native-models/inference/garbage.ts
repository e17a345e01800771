import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let collect: ((how: { type: 'major'; flavor: 'last-resort' }) => void) | undefined

/**
 * Has what nobody holds freed now. V8 knows little of what stands behind tensors that a graph put out: after a large prompt
 * hundreds of megabytes would wait for its next turn. Takes tens of milliseconds.
 */
export function collectGarbage(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as typeof collect
  }
  collect!({ type: 'major', flavor: 'last-resort' }) // what code can be compiled from again goes too
}

/**
 * Sets how soon V8 collects for what stands behind arrays and tensors. By default after some 30 MB: an image of a small model
 * takes 45, and each time the whole heap is marked, a seventh of all processor time. Otherwise when a limit is reached that
 * grows with what is in use, three times as seldom.
 */
export function collectForTensors(when: 'soon' | 'seldom'): void {
  setFlagsFromString(`--${when === 'soon' ? 'no-' : ''}external-memory-accounted-in-global-limit`)
}
