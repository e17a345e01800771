/** Browses this machine's folders in served mode, where there is no native dialog. */
import { ArrowUp, File, Folder, Image, ScrollText } from 'lucide-react'
import { useCallback, useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Output } from '../../electron/contract/api.ts'
import { openFolder, openProject } from '../actions/project.ts'
import { errorText } from '../actions/save.ts'
import { client } from '../client.ts'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { useRecords } from '../stores/records.ts'

type Listing = Output<'files.list'>
type Entry = Listing['entries'][number]

const ICONS = { directory: Folder, project: ScrollText, image: Image, other: File }

export const FolderDialog = () => <FileDialog kind="folder" />
export const ProjectDialog = () => <FileDialog kind="project" />

function FileDialog({ kind }: { kind: 'folder' | 'project' }) {
  const { t } = useTranslation()
  const here = useRecords((state) => state.project?.imagesDir)
  const [listing, setListing] = useState<Listing | null>(null)
  const [path, setPath] = useState('')
  const [chosen, setChosen] = useState<string | null>(null)
  const [problem, setProblem] = useState<string | null>(null)
  const [places, setPlaces] = useState<Output<'app.info'> | null>(null)
  const [busy, setBusy] = useState(false)
  /** The first listing must not overwrite what is being typed. */
  const typed = useRef(false)

  const go = useCallback(async (to: string) => {
    try {
      const next = await client().call('files.list', { path: to })
      setListing(next)
      if (!typed.current) setPath(next.path)
      typed.current = false
      setChosen(null)
      setProblem(null)
    } catch (error) {
      setProblem(errorText(error))
    }
  }, [])
  useEffect(() => {
    client()
      .call('app.info', {})
      .then((info) => {
        setPlaces(info)
        return go(here ?? (kind === 'project' ? info.projectsDir : info.homeDir))
      })
      .catch((error: unknown) => setProblem(errorText(error)))
  }, [go, here, kind])

  const open = async (target: string) => {
    setBusy(true)
    const failed = kind === 'folder' ? await openFolder(target) : await openProject(target)
    setBusy(false)
    if (failed === null) closeDialog()
    else setProblem(failed)
  }
  const enter = (entry: Entry) => {
    if (entry.kind === 'directory') void go(entry.path)
    else if (entry.kind === 'project' && kind === 'project') setChosen(entry.path)
  }
  const entries =
    listing?.entries.filter((entry) => kind === 'folder' || entry.kind === 'directory' || entry.kind === 'project') ??
    []
  const images = listing?.entries.filter((entry) => entry.kind === 'image').length ?? 0
  const target = kind === 'folder' ? path : (chosen ?? (path.endsWith('.gromatic') ? path : null))
  return (
    <Dialog
      footer={
        <>
          {kind === 'folder' && listing !== null ? (
            <span className="dim">{t('files.images', { count: images })}</span>
          ) : null}
          <span className="spring" />
          <button className="button" onClick={closeDialog} type="button">
            {t('common.cancel')}
          </button>
          <button
            className="button primary"
            disabled={target === null || target === '' || busy}
            onClick={() => target !== null && void open(target)}
            type="button"
          >
            {t(kind === 'folder' ? 'files.open' : 'files.openFile')}
          </button>
        </>
      }
      title={t(kind === 'folder' ? 'files.folderTitle' : 'files.projectTitle')}
    >
      <form
        className="with-button"
        onSubmit={(event) => {
          event.preventDefault()
          typed.current = false
          // Enter lists what was typed, Enter again opens what is listed
          if (path.endsWith('.gromatic') || (kind === 'folder' && path === listing?.path)) void open(path)
          else void go(path)
        }}
      >
        <button
          aria-label={t('files.up')}
          className="button icon"
          disabled={!listing?.parent}
          onClick={() => listing?.parent && void go(listing.parent)}
          type="button"
        >
          <ArrowUp aria-hidden="true" size={15} />
        </button>
        <input
          aria-label={t('files.path')}
          className="field"
          onChange={(event) => {
            typed.current = true
            setPath(event.target.value)
          }}
          onFocus={(event) => event.target.select()}
          spellCheck={false}
          type="text"
          value={path}
        />
        <button className="button" type="submit">
          {t('files.go')}
        </button>
      </form>
      {places === null ? null : (
        <div className="places">
          <button className="button small" onClick={() => void go(places.homeDir)} type="button">
            {t('files.home')}
          </button>
          <button className="button small" onClick={() => void go(places.samplesDir)} type="button">
            {t('files.samples')}
          </button>
        </div>
      )}
      <section aria-label={t('files.list')} className="file-list">
        {entries.map((entry) => {
          const Icon = ICONS[entry.kind]
          const usable = entry.kind === 'directory' || entry.kind === kind
          return (
            <button
              aria-current={entry.path === chosen ? 'true' : undefined}
              className="file-row"
              disabled={!usable}
              key={entry.path}
              onClick={() => enter(entry)}
              onDoubleClick={() => entry.kind === 'project' && kind === 'project' && void open(entry.path)}
              type="button"
            >
              <Icon aria-hidden="true" size={15} />
              <span className="cut">{entry.name}</span>
            </button>
          )
        })}
        {listing !== null && entries.length === 0 ? <p className="dim list-empty">{t('files.empty')}</p> : null}
      </section>
      {problem === null ? null : (
        <p className="problem-text" role="alert">
          {problem}
        </p>
      )}
    </Dialog>
  )
}
