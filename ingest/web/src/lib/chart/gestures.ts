/**
 * Touch, wheel and keys on the chart. Dragging with the mouse is uPlot's own selection; here are
 * the rest: one finger sideways moves in time, a tap asks for the values at a moment, two fingers
 * and the wheel zoom around one.
 */

export interface Gestures {
  /** Moves the view: by this share of its width to the left (negative) or right. */
  pan: (share: number) => void;
  /** Zooms by a factor (below 1: closer) around a place, given as a share of the width. */
  zoom: (factor: number, at: number) => void;
  /** A tap at a share of the width asks for the values there. */
  tap: (at: number) => void;
  /** The wheel zooms only while the chart is in use; otherwise the page scrolls. */
  wheelZooms: () => boolean;
}

/** A finger must have moved this far sideways, in CSS pixels, before it counts as a swipe. */
const SWIPE_PX = 8;
/** One notch of a wheel is about 100 units and zooms by a fifth. */
const WHEEL_SPEED = 0.002;

interface Fingers {
  middle: number;
  distance: number;
}

/** Attaches the gestures to the plotting area; returns how to take them off. */
export function attach(area: HTMLElement, gestures: Gestures): () => void {
  let last: Fingers | null = null;
  let start: { x: number; y: number } | null = null;
  let swiping = false;

  const width = (): number => Math.max(1, area.clientWidth);
  const place = (touch: Touch): number => touch.clientX - area.getBoundingClientRect().left;
  const fingers = (touches: TouchList): Fingers | null => {
    const [a, b] = [touches[0], touches[1]];
    if (!a) return null;
    if (!b) return { middle: place(a), distance: 0 };
    return { middle: (place(a) + place(b)) / 2, distance: Math.max(20, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)) };
  };

  const touchstart = (event: TouchEvent): void => {
    const first = event.touches[0];
    last = fingers(event.touches);
    start = first ? { x: first.clientX, y: first.clientY } : null;
    swiping = event.touches.length > 1;
    if (swiping) event.preventDefault();
  };
  const touchmove = (event: TouchEvent): void => {
    const now = fingers(event.touches);
    const first = event.touches[0];
    if (!now || !last || !first || !start) return;
    if (!swiping) {
      const [dx, dy] = [Math.abs(first.clientX - start.x), Math.abs(first.clientY - start.y)];
      if (dx < SWIPE_PX || dx < dy) return;
      swiping = true;
      last = now;
    }
    if (event.cancelable) event.preventDefault();
    if (now.distance > 0 && last.distance > 0) gestures.zoom(last.distance / now.distance, now.middle / width());
    gestures.pan((last.middle - now.middle) / width());
    last = now;
  };
  const touchend = (event: TouchEvent): void => {
    if (event.type === 'touchend' && !swiping && last && event.touches.length === 0) {
      // The mouse events that browsers make up after a tap would take the pointer away again.
      if (event.cancelable) event.preventDefault();
      gestures.tap(last.middle / width());
    }
    // The finger that stays begins anew, or the view would jump.
    last = fingers(event.touches);
    if (event.touches.length === 0) swiping = false;
  };
  const wheel = (event: WheelEvent): void => {
    if (!event.ctrlKey && !gestures.wheelZooms()) return;
    event.preventDefault();
    const at = (event.clientX - area.getBoundingClientRect().left) / width();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) gestures.pan(event.deltaX / width());
    else gestures.zoom(Math.exp(Math.max(-300, Math.min(300, event.deltaY)) * WHEEL_SPEED), at);
  };

  area.addEventListener('touchstart', touchstart, { passive: false });
  area.addEventListener('touchmove', touchmove, { passive: false });
  area.addEventListener('touchend', touchend);
  area.addEventListener('touchcancel', touchend);
  area.addEventListener('wheel', wheel, { passive: false });
  return () => {
    area.removeEventListener('touchstart', touchstart);
    area.removeEventListener('touchmove', touchmove);
    area.removeEventListener('touchend', touchend);
    area.removeEventListener('touchcancel', touchend);
    area.removeEventListener('wheel', wheel);
  };
}
