// Tells the columns below how tall the identity band is, so that both stay in sight.

export default function band(element) {
  const measure = () => {
    const bar = document.querySelector(".bar");
    document.documentElement.style.setProperty("--under-band", `${(bar ? bar.offsetHeight : 0) + element.offsetHeight}px`);
  };
  new ResizeObserver(measure).observe(element);
  measure();
}
