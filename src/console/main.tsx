import { render } from 'preact';
import { Api } from './api.ts';
import { App } from './app.tsx';
import { Folders } from './folders.tsx';
import './console.css';

const root = document.getElementById('app')!;
const { page } = root.dataset;
const api = new Api();
render(page === 'folders' ? <Folders api={api} /> : <App api={api} isOpenHere={page === 'server'} />, root);
