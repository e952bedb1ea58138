/// <reference types="vite/client" />

import "react";

declare module "react" {
  interface InputHTMLAttributes<T> {
    /** A dialog for a folder; React hands it on as it is. */
    webkitdirectory?: string;
  }
}
