/** A modal dialog on the native element: focus is kept inside, Escape closes, the focus returns to the picture. */
import { X } from 'lucide-react'
import { type ReactNode, useEffect, useRef } from 'react'
import { useTranslation } from 'react-i18next'
import { focusCanvas } from '../keys/commands.ts'
import { useView } from '../stores/view.ts'
import './dialog.css'

export const closeDialog = (): void => useView.setState({ dialog: null })

interface Props {
  readonly title: string
  readonly children: ReactNode
  readonly footer?: ReactNode
  readonly className?: string
  /** While work is under way Escape must not hide it. */
  readonly locked?: boolean
}

export function Dialog({ title, children, footer, className = '', locked = false }: Props) {
  const { t } = useTranslation()
  const element = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const dialog = element.current
    dialog?.showModal()
    // the field that is named first, else the first there is, else the dialog itself: never the cross
    const field =
      dialog?.querySelector<HTMLElement>('.dialog-body [data-first]') ??
      dialog?.querySelector<HTMLElement>('.dialog-body :is(input, select)')
    ;(field ?? dialog)?.focus()
    return () => {
      dialog?.close()
      focusCanvas()
    }
  }, [])
  return (
    <dialog
      aria-label={title}
      className={`dialog ${className}`}
      onCancel={(event) => {
        event.preventDefault()
        if (!locked) closeDialog()
      }}
      onMouseDown={(event) => {
        if (event.target === element.current && !locked) closeDialog()
      }}
      ref={element}
      tabIndex={-1}
    >
      <div className="dialog-inner">
        <header className="dialog-head">
          <h2>{title}</h2>
          <button
            aria-label={t('common.close')}
            className="button quiet icon small"
            disabled={locked}
            onClick={closeDialog}
            type="button"
          >
            <X aria-hidden="true" size={15} />
          </button>
        </header>
        <div className="dialog-body">{children}</div>
        {footer === undefined ? null : <footer className="dialog-foot">{footer}</footer>}
      </div>
    </dialog>
  )
}
