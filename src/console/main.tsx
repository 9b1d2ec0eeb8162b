import { render } from 'preact';
import { Api } from './api.ts';
import { App } from './app.tsx';
import './console.css';

render(<App api={new Api()} />, document.getElementById('app')!);
