import { render } from "preact";
import { begin as follow } from "./state/following.ts";
import { begin } from "./state/session.ts";
import { App } from "./view/App.tsx";

render(<App />, document.getElementById("page")!);
void begin();
follow();
