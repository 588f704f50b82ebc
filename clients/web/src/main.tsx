import { render } from "preact";
import { begin } from "./state/session.ts";
import { App } from "./view/App.tsx";

render(<App />, document.getElementById("page")!);
void begin();
