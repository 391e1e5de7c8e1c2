/** Hooks that several components share. */
import { useSyncline } from "@syncline/client/react";
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";

interface Watched<T> {
  readonly value: T;
  readonly subscribe: (listener: () => void) => () => void;
}

/** Reads a store, or any live value of the client. */
export function useStore<T>(store: Watched<T>): T {
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store]);
  const read = useCallback(() => store.value, [store]);
  return useSyncExternalStore(subscribe, read);
}

/** Names the device that a register's writer (`device.session`) belongs to. */
export function useWriterName(): (writer: string) => string {
  const client = useSyncline();
  useStore(client.devices);
  return useCallback(
    (writer: string) => {
      if (writer === "server") return "the server";
      if (writer.startsWith("agent:")) return "an assistant";
      const id = writer.split(".")[0] ?? writer;
      if (id === client.device.id) return "this device";
      return client.devices.value.find((device) => device.id === id)?.name ?? "another device";
    },
    [client],
  );
}

/** A value that follows another one, but only after it has stood still for so long. */
export function useSettled<T>(value: T, isAtOnce: boolean, ms: number): T {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), isAtOnce ? 0 : ms);
    return () => clearTimeout(timer);
  }, [isAtOnce, ms, value]);
  return isAtOnce ? value : settled;
}

/** Whether all that was written is in the device's own store. */
export function useStored(status: unknown): boolean {
  const client = useSyncline();
  const [stored, setStored] = useState<unknown>();
  useEffect(() => {
    let isOver = false;
    void client.whenStored().then(() => isOver || setStored(status));
    return () => {
      isOver = true;
    };
  }, [client, status]);
  return stored === status;
}
