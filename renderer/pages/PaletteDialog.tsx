/** Every command by name. */
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { CommandKeys } from '../components/Kbd.tsx'
import { run } from '../keys/commands.ts'
import { type Binding, type CommandId, keymap } from '../keys/keymap.ts'

export function PaletteDialog() {
  const { t } = useTranslation()
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const list = useRef<HTMLDivElement>(null)
  const words = text.trim().toLowerCase().split(/\s+/)
  const options = (keymap as readonly Binding[])
    .filter((binding) => binding.listed !== false)
    .map((binding) => ({ id: binding.command as CommandId, label: t(`commands.${binding.command as CommandId}`) }))
    .filter(({ label }) => words.every((word) => label.toLowerCase().includes(word)))
  useEffect(() => {
    list.current?.children[at]?.scrollIntoView({ block: 'nearest' })
  }, [at])
  const choose = (index: number) => {
    const option = options[index]
    if (option === undefined) return
    closeDialog()
    // after the dialog has given the focus back
    setTimeout(() => run(option.id), 0)
  }
  return (
    <Dialog className="palette" title={t('palette.title')}>
      <input
        aria-activedescendant={options[at] === undefined ? undefined : `command-${options[at].id}`}
        aria-controls="command-list"
        aria-expanded="true"
        aria-label={t('palette.title')}
        autoComplete="off"
        className="field"
        onChange={(event) => {
          setText(event.target.value)
          setAt(0)
        }}
        onKeyDown={(event) => {
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
          if (step !== undefined) setAt((at + step + options.length) % Math.max(1, options.length))
          else if (event.key === 'Enter' && !event.nativeEvent.isComposing) choose(at)
          else return
          event.preventDefault()
        }}
        placeholder={t('palette.placeholder')}
        role="combobox"
        spellCheck={false}
        type="text"
        value={text}
      />
      <div className="palette-list" id="command-list" ref={list} role="listbox">
        {options.map((option, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the field names its active option
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field handles the keys
          <div
            aria-selected={index === at}
            className="palette-option"
            id={`command-${option.id}`}
            key={option.id}
            onClick={() => choose(index)}
            onMouseMove={() => setAt(index)}
            role="option"
          >
            {option.label}
            <CommandKeys command={option.id} />
          </div>
        ))}
        {options.length === 0 ? <p className="dim list-empty">{t('palette.none')}</p> : null}
      </div>
    </Dialog>
  )
}
