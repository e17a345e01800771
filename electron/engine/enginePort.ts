/** The engine process's side of the pipe to the application, whichever way it was started. */

export interface EnginePort {
  send(message: unknown): void
  onMessage(listener: (message: unknown) => void): void
  /** Called once when the application is gone: nothing that this process computes has a reader any more. */
  onClose(listener: () => void): void
}

/** What Electron gives a utility process; typed here so that this file needs no Electron. */
interface UtilityParentPort {
  postMessage(message: unknown): void
  on(event: 'message', listener: (event: { data: unknown }) => void): void
  on(event: 'close', listener: () => void): void
}

/** The port to whoever started this process: Electron's utility process or a forked Node child. */
export function parentPort(): EnginePort {
  const utility = (process as unknown as { parentPort?: UtilityParentPort | null }).parentPort
  if (utility) {
    return {
      send: (message) => utility.postMessage(message),
      onMessage: (listener) => utility.on('message', (event) => listener(event.data)),
      onClose: (listener) => utility.on('close', listener),
    }
  }
  if (process.send === undefined) throw new Error('The engine process is started by the application, not by hand.')
  return {
    send: (message) => {
      if (process.connected) process.send?.(message)
    },
    onMessage: (listener) => process.on('message', listener),
    onClose: (listener) => process.once('disconnect', listener),
  }
}
