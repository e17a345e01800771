/** Class or caption as a field: Enter keeps, Escape leaves; a caption is kept by a click elsewhere, too. The same in a row and in the decision bar. */
import { type FocusEvent, useEffect, useId, useLayoutEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Annotation } from '../../db/records/records.ts'
import { updateRegion } from '../actions/decide.ts'
import { focusCanvas } from '../keys/commands.ts'
import { useRecords } from '../stores/records.ts'
import { categoriesByKey } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import './regionEditor.css'

const stop = () => {
  useView.setState({ editing: null })
  focusCanvas()
}

/** Captions that could not be saved, by project and region: the field offers them when it is opened again. */
const unsaved = new Map<string, string>()
const keyOf = (region: Annotation) => `${region.id} ${useRecords.getState().project?.path}`

async function keepCaption(region: Annotation, text: string): Promise<void> {
  const caption = text.trim() === '' ? null : text.trim()
  unsaved.delete(keyOf(region))
  if (caption !== region.caption && !(await updateRegion(region.id, { caption }))) unsaved.set(keyOf(region), text)
}

/** Whether a field lost the focus to another part of the window: another window in front ends nothing. */
const isLeft = (event: FocusEvent<HTMLInputElement>) => document.activeElement !== event.currentTarget

export function RegionEditor({ region, field }: { region: Annotation; field: 'category' | 'caption' }) {
  return field === 'caption' ? <CaptionField region={region} /> : <CategoryField region={region} />
}

function CaptionField({ region }: { region: Annotation }) {
  const { t } = useTranslation()
  const [text, setText] = useState(unsaved.get(keyOf(region)) ?? region.caption ?? '')
  const input = useSelected()
  const settled = useRef(false)
  const end = (kept: boolean) => {
    if (settled.current) return
    settled.current = true // leaving the field is told as its blur once more
    if (kept) void keepCaption(region, text)
    else unsaved.delete(keyOf(region))
  }
  return (
    <input
      aria-label={t('regions.captionField')}
      className="field region-field"
      onBlur={(event) => {
        if (!isLeft(event)) return
        end(true)
        useView.setState({ editing: null })
      }}
      onChange={(event) => setText(event.target.value)}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return
        if (event.key !== 'Enter' && event.key !== 'Escape') return
        end(event.key === 'Enter')
        stop()
        event.preventDefault()
        event.stopPropagation()
      }}
      ref={input}
      type="text"
      value={text}
    />
  )
}

function CategoryField({ region }: { region: Annotation }) {
  const { t } = useTranslation()
  const categories = useRecords((state) => state.categories)
  const now = region.categoryId === null ? '' : (categories.get(region.categoryId)?.name ?? '')
  const [text, setText] = useState(now)
  const [touched, setTouched] = useState(false)
  const [at, setAt] = useState(() =>
    Math.max(
      0,
      categoriesByKey(categories).findIndex(({ id }) => id === region.categoryId),
    ),
  )
  const input = useSelected()
  const list = useId()
  useEffect(() => {
    document.getElementById(`${list}-${at}`)?.scrollIntoView({ block: 'nearest' })
  }, [list, at])
  const wanted = text.trim()
  const matches = categoriesByKey(categories).filter(
    ({ name }) => !touched || name.toLowerCase().includes(wanted.toLowerCase()),
  )
  const isNew = touched && wanted !== '' && !matches.some(({ name }) => name.toLowerCase() === wanted.toLowerCase())
  const options = [
    ...matches.slice(0, 50).map((category) => ({
      key: `c${category.id}`,
      label: category.name,
      color: category.color,
      change: { categoryId: category.id },
    })),
    ...(isNew
      ? [{ key: 'new', label: t('regions.newClass', { name: wanted }), color: null, change: { categoryName: wanted } }]
      : []),
  ]
  const keep = (index: number) => {
    const option = options[index]
    stop()
    if (touched && wanted === '') void updateRegion(region.id, { categoryId: null })
    else if (
      option !== undefined &&
      !('categoryId' in option.change && option.change.categoryId === region.categoryId)
    ) {
      void updateRegion(region.id, option.change)
    }
  }
  return (
    <span className="combo">
      <input
        aria-activedescendant={options[at] === undefined ? undefined : `${list}-${at}`}
        aria-autocomplete="list"
        aria-controls={list}
        aria-expanded={options.length > 0}
        aria-label={t('regions.class')}
        autoComplete="off"
        className="field region-field"
        onBlur={(event) => isLeft(event) && useView.setState({ editing: null })}
        onChange={(event) => {
          setText(event.target.value)
          setTouched(true)
          setAt(0)
        }}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return
          const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
          if (step !== undefined) setAt((at + step + options.length) % Math.max(1, options.length))
          else if (event.key === 'Enter') {
            keep(at)
          } else if (event.key === 'Escape') stop()
          else return
          event.preventDefault()
          event.stopPropagation()
        }}
        ref={input}
        role="combobox"
        spellCheck={false}
        type="text"
        value={text}
      />
      <span className="combo-list" id={list} role="listbox">
        {options.map((option, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the combobox names its active option
          // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox handles the keys
          <span
            aria-selected={index === at}
            className="combo-option"
            id={`${list}-${index}`}
            key={option.key}
            onClick={() => keep(index)}
            onMouseDown={(event) => event.preventDefault()}
            role="option"
          >
            <i className="swatch" style={option.color === null ? undefined : { background: option.color }} />
            <span className="cut">{option.label}</span>
          </span>
        ))}
      </span>
    </span>
  )
}

/** A field that has the focus and its text selected from the start; one that goes with its region leaves the focus on the picture. */
function useSelected() {
  const input = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => {
    const field = input.current
    return () => {
      if (field !== null && document.activeElement === field) focusCanvas()
    }
  }, [])
  useEffect(() => {
    input.current?.focus()
    input.current?.select()
  }, [])
  return input
}
