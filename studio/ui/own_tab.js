// Gradio keeps the form, the stack and the jobs of a page in the storage that all tabs of a browser share. Each tab has
// its own here: what begins with "loom." goes to the storage of the tab. A new tab begins with the form and the stack
// that were changed last, but with no job: Cancel in one tab is not for the picture of another.
(() => {
    const {getItem, setItem, removeItem} = Storage.prototype, own = window.sessionStorage, shared = window.localStorage;
    const jobs = 'loom.jobs', open = 'loom.open';
    if (getItem.call(own, open) !== null) removeItem.call(own, jobs); // a copy of a tab that is still open
    const opened = () => setItem.call(own, open, '1');
    opened();
    window.addEventListener('pageshow', opened);
    window.addEventListener('pagehide', () => removeItem.call(own, open));

    const ours = (storage, key) => storage === shared && String(key).startsWith('loom.');
    Storage.prototype.getItem = function (key) {
        if (!ours(this, key)) return getItem.call(this, key);
        const found = getItem.call(own, key);
        return found !== null || key === jobs ? found : getItem.call(shared, key);
    };
    Storage.prototype.setItem = function (key, value) {
        if (ours(this, key)) setItem.call(own, key, value);
        if (!ours(this, key) || key !== jobs) setItem.call(this, key, value);
    };
})();
