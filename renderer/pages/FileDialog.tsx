/** Opens a folder or a project in served mode, where there is no native dialog. */
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { openFolder, openProject } from '../actions/project.ts'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { type FileEntry, FileList, PathField, Places, useFolder } from '../components/FileBrowser.tsx'
import { useRecords } from '../stores/records.ts'

export const FolderDialog = () => <FileDialog kind="folder" />
export const ProjectDialog = () => <FileDialog kind="project" />

function FileDialog({ kind }: { kind: 'folder' | 'project' }) {
  const { t } = useTranslation()
  const here = useRecords((state) => state.project?.imagesDir)
  const folder = useFolder((places) => here ?? (kind === 'project' ? places.projectsDir : places.homeDir))
  const [chosen, setChosen] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const { listing, path } = folder

  const go = (to: string) => {
    setChosen(null)
    void folder.submit(to)
  }
  const open = async (target: string) => {
    setBusy(true)
    const failed = kind === 'folder' ? await openFolder(target) : await openProject(target)
    setBusy(false)
    if (failed === null) closeDialog()
    else folder.setProblem(failed)
  }
  const enter = (entry: FileEntry) => {
    if (entry.kind === 'directory') go(entry.path)
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
        onSubmit={(event) => {
          event.preventDefault()
          // Enter lists what was typed, Enter again opens what is listed
          if (path.endsWith('.gromatic') || (kind === 'folder' && path === listing?.path)) void open(path)
          else go(path)
        }}
      >
        <PathField folder={folder} onGo={go} onType={folder.type} path={path} />
      </form>
      <Places folder={folder} onGo={go} />
      <FileList
        chosen={chosen}
        entries={entries}
        loaded={listing !== null}
        onEnter={enter}
        onOpen={(entry) => entry.kind === 'project' && kind === 'project' && void open(entry.path)}
        usable={(entry) => entry.kind === 'directory' || entry.kind === kind}
      />
      {folder.problem === null ? null : (
        <p className="problem-text" role="alert">
          {folder.problem}
        </p>
      )}
    </Dialog>
  )
}
