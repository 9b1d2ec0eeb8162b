import { useRef } from 'preact/hooks';

/** Asks for the API key. It goes into headers only. */
export function SignIn({ isWrong, onKey }: { isWrong: boolean; onKey: (key: string) => void }) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <main>
      <form
        class="card sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          const key = field.current!.value;
          field.current!.value = '';
          if (key !== '') onKey(key);
        }}
      >
        <h1>Stillpoint</h1>
        <label for="key">API key of this server</label>
        <input id="key" ref={field} type="password" autocomplete="off" required />
        {isWrong && (
          <p class="bad" role="alert">
            This key is not the server's.
          </p>
        )}
        <button type="submit" class="main">
          Sign in
        </button>
        <p class="small">It is forgotten when this tab is closed.</p>
      </form>
    </main>
  );
}
