import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

let collect: (() => void) | undefined

/**
 * Has what nobody holds freed now. V8 knows little of what stands behind tensors that a graph put out: after a large prompt
 * hundreds of megabytes would wait for its next turn. Takes some milliseconds.
 */
export function collectGarbage(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  collect()
}
