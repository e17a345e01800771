/** Key caps beside what they do. Decoration: the accessible name of a button stays its words. */
import { type CommandId, shownKey } from '../keys/keymap.ts'

/** The caps of a command's key. */
export function CommandKeys({ command }: { command: CommandId }) {
  return <Keys caps={shownKey(command)} />
}

/** Any caps. */
export function Keys({ caps }: { caps: readonly string[] }) {
  if (caps.length === 0) return null
  return (
    <span aria-hidden="true" className="kbd-row">
      {caps.map((cap) => (
        <kbd className="kbd" key={cap}>
          {cap}
        </kbd>
      ))}
    </span>
  )
}
