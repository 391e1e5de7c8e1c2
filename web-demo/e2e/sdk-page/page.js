/** Puts the SDK within reach of tests. */
import * as sdk from "@syncline/client";

Object.assign(window, { sdk });
