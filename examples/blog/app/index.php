<?php
// A blog of one page. Its articles are in a database that is found by its name.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$password = getenv('DB_PASSWORD') ?: file_get_contents('/run/secrets/db_password');
$db = new mysqli(getenv('DB_HOST') ?: 'db', 'blog', $password, 'blog');
$db->query('CREATE TABLE IF NOT EXISTS article (id INT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(200) NOT NULL)');
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $insert = $db->prepare('INSERT INTO article (title) VALUES (?)');
    $insert->bind_param('s', $_POST['title']);
    $insert->execute();
}
header('Content-Type: text/plain; charset=utf-8');
foreach ($db->query('SELECT id, title FROM article ORDER BY id') as $article) {
    printf("%d. %s\n", $article['id'], $article['title']);
}
