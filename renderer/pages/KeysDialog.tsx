/** All keys, straight from the keymap: the help cannot be out of date. */
import { useTranslation } from 'react-i18next'
import { Dialog } from '../components/Dialog.tsx'
import { Keys } from '../components/Kbd.tsx'
import { type Binding, type CommandId, type Group, keyCaps, keymap } from '../keys/keymap.ts'

const GROUPS: readonly Group[] = ['decide', 'edit', 'move', 'view', 'talk']

export function KeysDialog() {
  const { t } = useTranslation()
  const row = (label: string, alternatives: readonly (readonly string[])[]) => (
    <li key={label}>
      <span>{label}</span>
      <span className="key-alternatives">
        {alternatives.map((caps) => (
          <Keys caps={caps} key={caps.join('+')} />
        ))}
      </span>
    </li>
  )
  return (
    <Dialog className="keys-help" title={t('keysHelp.title')}>
      <p className="dim">{t('keysHelp.hint')}</p>
      <div className="key-groups">
        {GROUPS.map((group) => (
          <section key={group}>
            <h3>{t(`keysHelp.${group}`)}</h3>
            <ul>
              {(keymap as readonly Binding[])
                .filter((binding) => binding.group === group && binding.keys.length > 0)
                .map((binding) => row(t(`commands.${binding.command as CommandId}`), binding.keys.map(keyCaps)))}
              {group === 'edit' ? row(t('commands.relabel'), [['1 – 9']]) : null}
              {group === 'view' ? row(t('commands.space'), [['Space']]) : null}
            </ul>
          </section>
        ))}
      </div>
    </Dialog>
  )
}
