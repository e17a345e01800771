import { disposeTensor, type Tensor } from './session.ts'

/**
 * The tensors on a device that a graph of ours put out. The runtime crashes when one is given back after the graph that made it,
 * even by the garbage collector: so all that are left are given back before the graph is closed.
 */
export class DeviceTensors {
  readonly #live = new Set<Tensor>()
  readonly #forgotten = new FinalizationRegistry<readonly Tensor[]>((tensors) => this.dispose(tensors))

  get count(): number {
    return this.#live.size
  }

  /** Takes note of tensors, and returns them. */
  adopt<T extends readonly Tensor[]>(tensors: T): T {
    for (const tensor of tensors) this.#live.add(tensor)
    return tensors
  }

  /** Gives tensors back; those that were given back are left alone. */
  dispose(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) if (this.#live.delete(tensor)) disposeTensor(tensor)
  }

  /** Gives tensors back once nobody holds their owner. They must not refer to it. */
  disposeWith(owner: object, tensors: readonly Tensor[]): void {
    this.#forgotten.register(owner, tensors)
  }

  /** Gives everything back. */
  close(): void {
    this.dispose([...this.#live])
  }
}
