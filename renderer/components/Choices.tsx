/** One choice out of a few that need a sentence each: native radio buttons below each other. */
import { type ReactNode, useId } from 'react'

export interface Choice<T extends string> {
  readonly value: T
  readonly label: string
  readonly hint?: string
  /** Shown under it while it is chosen. */
  readonly more?: ReactNode
}

interface Props<T extends string> {
  readonly label: string
  /** None of the options: nothing is chosen yet. */
  readonly value: string
  readonly options: readonly Choice<T>[]
  readonly onChange: (value: T) => void
}

export function Choices<T extends string>({ label, value, options, onChange }: Props<T>) {
  const name = useId()
  return (
    <fieldset className="choices">
      <legend className="hidden-text">{label}</legend>
      {options.map((option) => (
        <div className="choice" key={option.value}>
          <input
            aria-describedby={option.hint === undefined ? undefined : `${name}-${option.value}-hint`}
            checked={option.value === value}
            id={`${name}-${option.value}`}
            name={name}
            onChange={() => onChange(option.value)}
            type="radio"
            value={option.value}
          />
          <label htmlFor={`${name}-${option.value}`}>{option.label}</label>
          {option.hint === undefined ? null : (
            <span className="dim choice-hint" id={`${name}-${option.value}-hint`}>
              {option.hint}
            </span>
          )}
          {option.value === value && option.more !== undefined ? (
            <div className="choice-more">{option.more}</div>
          ) : null}
        </div>
      ))}
    </fieldset>
  )
}
