import { render } from 'preact';
import { Api } from './api.ts';
import { App } from './app.tsx';
import { FleetPage } from './fleet.tsx';
import { Folders } from './folders.tsx';
import { RepositoryPage } from './repository.tsx';
import './console.css';

const root = document.getElementById('app')!;
const api = new Api();

function pageOf(name: string | undefined) {
  if (name === 'folders') return <Folders api={api} />;
  if (name === 'repository') return <RepositoryPage api={api} />;
  if (name === 'fleet') return <FleetPage api={api} />;
  return <App api={api} isOpenHere={name === 'server'} />;
}

render(pageOf(root.dataset.page), root);
