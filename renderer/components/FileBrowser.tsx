/** The folders of this machine: a path that can be typed, and what lies there. Used where there is no native dialog. */
import { ArrowUp, File, Folder, Image, ScrollText } from 'lucide-react'
import { useCallback, useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Output } from '../../electron/contract/api.ts'
import { errorText } from '../actions/save.ts'
import { client } from '../client.ts'
import { VirtualList } from './VirtualList.tsx'

export type Listing = Output<'files.list'>
export type FileEntry = Listing['entries'][number]

const ICONS = { directory: Folder, project: ScrollText, image: Image, other: File }
const ROW_HEIGHT = 28

/** A folder's listing, the path in the field above it, and how to go elsewhere. */
export function useFolder(start: (places: Output<'app.info'>) => string) {
  const [listing, setListing] = useState<Listing | null>(null)
  const [path, setPath] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const [places, setPlaces] = useState<Output<'app.info'> | null>(null)
  /** A listing must not overwrite what is being typed. */
  const typed = useRef(false)
  const first = useRef(start)

  const go = useCallback(async (to: string): Promise<Listing | null> => {
    try {
      const next = await client().call('files.list', { path: to })
      setListing(next)
      if (!typed.current) setPath(next.path)
      typed.current = false
      setProblem(null)
      return next
    } catch (error) {
      setProblem(errorText(error))
      return null
    }
  }, [])
  useEffect(() => {
    client()
      .call('app.info', {})
      .then((info) => {
        setPlaces(info)
        return go(first.current(info))
      })
      .catch((error: unknown) => setProblem(errorText(error)))
  }, [go])
  const type = useCallback((text: string) => {
    typed.current = true
    setPath(text)
  }, [])
  /** Lists what stands in the field. */
  const submit = useCallback(
    (to: string) => {
      typed.current = false
      return go(to)
    },
    [go],
  )
  return { listing, path, setPath, type, go, submit, problem, setProblem, places }
}

interface FieldProps {
  readonly folder: ReturnType<typeof useFolder>
  readonly path: string
  readonly onType: (path: string) => void
  readonly onGo: (path: string) => void
}

/** Up, the path, and Go. Enter in the field is the form's: see the dialogs. */
export function PathField({ folder: { listing }, path, onType, onGo }: FieldProps) {
  const { t } = useTranslation()
  return (
    <div className="with-button">
      <button
        aria-label={t('files.up')}
        className="button icon"
        disabled={!listing?.parent}
        onClick={() => listing?.parent && onGo(listing.parent)}
        type="button"
      >
        <ArrowUp aria-hidden="true" size={15} />
      </button>
      <input
        aria-label={t('files.path')}
        className="field"
        data-first=""
        onChange={(event) => onType(event.target.value)}
        onFocus={(event) => event.target.select()}
        spellCheck={false}
        type="text"
        value={path}
      />
      <button className="button" onClick={() => onGo(path)} type="button">
        {t('files.go')}
      </button>
    </div>
  )
}

/** Where one often wants to go. */
export function Places({ folder, onGo }: { folder: ReturnType<typeof useFolder>; onGo: (path: string) => void }) {
  const { t } = useTranslation()
  if (folder.places === null) return null
  const { homeDir, samplesDir } = folder.places
  return (
    <div className="places">
      <button className="button small" onClick={() => onGo(homeDir)} type="button">
        {t('files.home')}
      </button>
      <button className="button small" onClick={() => onGo(samplesDir)} type="button">
        {t('files.samples')}
      </button>
    </div>
  )
}

interface ListProps {
  readonly entries: readonly FileEntry[]
  readonly loaded: boolean
  readonly chosen: string | null
  readonly usable?: (entry: FileEntry) => boolean
  /** Said where there is nothing to choose. */
  readonly empty?: string
  readonly onEnter: (entry: FileEntry) => void
  readonly onOpen?: (entry: FileEntry) => void
}

/** What lies in the folder; a row is a button. */
export function FileList({ entries, loaded, chosen, usable = () => true, empty, onEnter, onOpen }: ListProps) {
  const { t } = useTranslation()
  if (loaded && entries.length === 0) return <p className="file-list dim list-empty">{empty ?? t('files.empty')}</p>
  return (
    <VirtualList
      at={chosen === null ? undefined : entries.findIndex(({ path }) => path === chosen)}
      className="file-list"
      count={entries.length}
      label={t('files.list')}
      rowHeight={ROW_HEIGHT}
    >
      {(index) => {
        const entry = entries[index] as FileEntry
        const Icon = ICONS[entry.kind]
        return (
          <button
            aria-current={entry.path === chosen ? 'true' : undefined}
            className="file-row"
            disabled={!usable(entry)}
            onClick={() => onEnter(entry)}
            onDoubleClick={() => onOpen?.(entry)}
            type="button"
          >
            <Icon aria-hidden="true" size={15} />
            <span className="cut">{entry.name}</span>
          </button>
        )
      }}
    </VirtualList>
  )
}
