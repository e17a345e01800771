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
